"""The one typed settings object, read from the environment.

Belongs here: names, types and defaults of settings. Does not belong here: starting servers (embedded.py).
Whatever is left unset is served by the embedded servers; set a URL to use a real server for that store instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from penguinmails.stack.errors import SettingsError

WebUrl = Annotated[SecretStr, AfterValidator(lambda url: _with_scheme(url, "https://", "http://"))]
SmtpUrl = Annotated[SecretStr, AfterValidator(lambda url: _with_scheme(url, "smtp://", "smtps://"))]
PostgresUrl = Annotated[SecretStr, AfterValidator(lambda url: _with_scheme(url, "postgresql://", "postgres://"))]
RedisUrl = Annotated[SecretStr, AfterValidator(lambda url: _with_scheme(url, "redis://", "rediss://", "unix://"))]

CHECKOUT = Path(__file__).resolve().parent.parent


def default_home() -> Path:
    """Returns the git-ignored folder of this checkout, or the user's data folder for an installed wheel."""
    if (CHECKOUT / "workspace.yaml").exists():
        return CHECKOUT / ".penguinmails"
    return platformdirs.user_data_path("penguinmails")


def _with_scheme(url: SecretStr, *schemes: str) -> SecretStr:
    if not url.get_secret_value().startswith(schemes):
        raise ValueError(f"must begin with {' or '.join(schemes)}")
    return url


class Settings(BaseSettings):
    """Where everything is. Every field can be set as `PENGUINMAILS_<FIELD>`; the S3 ones also by AWS's own names."""

    model_config = SettingsConfigDict(
        env_prefix="PENGUINMAILS_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    home: Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())] = Field(
        default_factory=default_home
    )
    """Folder of everything this platform stores on this machine."""
    postgresql_bin: Path | None = None
    """Folder of other binaries for the embedded PostgreSQL: 15 or newer; unset, those of the lock file (18)."""
    oltp_url: PostgresUrl | None = None
    """PostgreSQL of the OLTP tier: the login of migrations and pipelines."""
    oltp_app_url: PostgresUrl | None = None
    """PostgreSQL of the OLTP tier: the application's login, subject to row level security."""
    context_key: SecretStr | None = None
    """32 bytes in base64 (`openssl rand -base64 32`) that sign the application's contexts; unset, a file in the keys folder."""
    content_url: PostgresUrl | None = None
    """PostgreSQL of the content index."""
    content_master_key: SecretStr | None = None
    """32 bytes in base64 (`openssl rand -base64 32`) that every tenant's key is derived from; unset, one file a key."""
    queue_url: PostgresUrl | None = None
    """PostgreSQL of the queue."""
    dagster_url: PostgresUrl | None = None
    """PostgreSQL of Dagster's instance storage."""
    redis_url: RedisUrl | None = None
    """Redis or Valkey of the queue's fast lane."""
    s3_endpoint_url: str | None = None
    """S3 endpoint; unset together with a bucket means AWS itself."""
    s3_bucket: str | None = None
    """Bucket of the content tier and the landing zone."""
    s3_access_key_id: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    s3_secret_access_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    s3_region: str = Field(default="us-east-1", validation_alias="AWS_REGION")

    alert_webhook_url: WebUrl | None = None
    """Where alerts are POSTed as JSON."""
    alert_smtp_url: SmtpUrl | None = None
    """Mail server of alerts: smtp://user:password@host:port or smtps://."""
    alert_email: str | None = None
    """Who gets alerts by e-mail, and who they come from."""

    @classmethod
    def load(cls) -> Settings:
        """Reads the environment.

        Raises:
            SettingsError: a value is malformed; names the variable, never the value.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = "PENGUINMAILS_" + "_".join(str(part) for part in first["loc"]).upper()
            raise SettingsError(name, first["msg"], "Correct the environment variable or unset it.") from None
