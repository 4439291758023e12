"""Where each store is reached: the settings, completed by the embedded servers.

Belongs here: `Stores`, `resolve()` and opening a client from it. Does not belong here: what is done with a client.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis
from pydantic import SecretStr

from penguinmails.stack import embedded
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.object_store import Bucket, BucketAddress
from penguinmails.stack.settings import Settings


@dataclass(frozen=True)
class Stores:
    """Complete addresses of every store. Secrets stay `SecretStr`, so that no log or traceback shows them."""

    home: Path
    oltp_url: SecretStr
    oltp_app_url: SecretStr
    content_url: SecretStr
    queue_url: SecretStr
    dagster_url: SecretStr
    redis_url: SecretStr
    bucket: BucketAddress
    content_master_key: SecretStr | None = None
    context_key: SecretStr | None = None

    @property
    def marts_folder(self) -> Path:
        """Where the marts are built and published."""
        return self.home / "marts"

    @property
    def keys_folder(self) -> Path:
        """Where keys are kept that neither the environment nor a KMS has; mode 0700."""
        return self.home / "keys"

    def open_bucket(self) -> Bucket:
        """Returns a client of the object store."""
        return Bucket(self.bucket)

    def open_redis(self) -> redis.Redis:
        """Returns a client of the queue's fast lane, with timeouts."""
        return redis.Redis.from_url(
            self.redis_url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5, decode_responses=False
        )


def resolve(settings: Settings | None = None) -> Stores:
    """Returns the stores, starting the embedded servers that the settings leave to us.

    Cheap when they already run (a few milliseconds). Safe to call from any number of processes at once.

    Raises:
        SettingsError: settings contradict one another.
        ServerError: an embedded server does not start; holds the end of its log.
    """
    settings = settings or Settings.load()
    if (settings.s3_endpoint_url is not None) and settings.s3_bucket is None:
        raise SettingsError("PENGUINMAILS_S3_BUCKET", "is not set beside PENGUINMAILS_S3_ENDPOINT_URL", "Set both.")
    needs_postgres = None in (settings.oltp_url, settings.content_url, settings.queue_url, settings.dagster_url)
    needs_redis = settings.redis_url is None
    needs_s3 = settings.s3_bucket is None
    servers = embedded.ensure(settings.home, postgres=needs_postgres, valkey=needs_redis, s3=needs_s3)
    if settings.s3_bucket is None:
        bucket = servers.bucket()
    else:
        bucket = BucketAddress(
            settings.s3_bucket,
            settings.s3_endpoint_url,
            settings.s3_region,
            settings.s3_access_key_id,
            settings.s3_secret_access_key,
        )
    return Stores(
        home=settings.home,
        oltp_url=settings.oltp_url or servers.postgres_url("oltp"),
        # A real server's application login is the operator's to make; without one, migrations' login is used with SET ROLE.
        oltp_app_url=settings.oltp_app_url
        or settings.oltp_url
        or servers.postgres_url("oltp", login="penguinmails_app"),
        content_url=settings.content_url or servers.postgres_url("content"),
        queue_url=settings.queue_url or servers.postgres_url("queue"),
        dagster_url=settings.dagster_url or servers.postgres_url("dagster"),
        redis_url=settings.redis_url or servers.redis_url(),
        bucket=bucket,
        content_master_key=settings.content_master_key,
        context_key=settings.context_key,
    )
