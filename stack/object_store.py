"""The S3 client that every tier uses.

Belongs here: one configured client (checksums, timeouts, retries, an allow-list of operations) and the few operations
this platform needs, with typed errors. Does not belong here: what the objects hold.

Why so few operations: `rclone serve s3` answers 200 to calls it does not know and overwrites the object with the call's
own body (legal hold, retention, tagging, ACL). Nothing outside the allow-list ever leaves this process.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from penguinmails.stack.errors import IntegrityError, PlatformError, ServerError
from penguinmails.stack.ranged_reads import RangedReads

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

ALLOWED_OPERATIONS = frozenset(
    {
        "PutObject",
        "GetObject",
        "HeadObject",
        "DeleteObject",
        "DeleteObjects",
        "ListObjectsV2",
        "CreateBucket",
        "HeadBucket",
    }
)
_CONNECT_SECONDS, _READ_SECONDS = 5, 60
_one_at_a_time = threading.Lock()
"""Held while the session makes a client: it is not safe to share between threads, clients are."""
_PIECE_BYTES = 1 << 20
_DELETE_BATCH = 1000
"""Keys; what S3 takes in one DeleteObjects."""


class ObjectMissing(PlatformError):
    """There is no object under the key."""


class ObjectStoreUnavailable(ServerError):
    """The object store does not answer, or refuses us."""


class OperationNotAllowed(PlatformError):
    """An S3 operation outside the allow-list was attempted; nothing was sent."""


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is and how to open it."""

    name: str
    endpoint_url: str | None
    region: str
    access_key_id: SecretStr | None
    secret_access_key: SecretStr | None


@dataclass(frozen=True)
class ObjectInfo:
    """One entry of a listing."""

    key: str
    size_bytes: int


class Bucket:
    """One bucket. Safe to share between threads; not across a fork."""

    def __init__(self, address: BucketAddress, *, connections: int = 16) -> None:
        self.address = address
        self._connections = connections

    def __repr__(self) -> str:
        return f"Bucket({self.address.name})"

    @cached_property
    def client(self) -> S3Client:
        """The boto3 client; opened at first use, because importing boto3 takes a while."""
        from botocore.config import Config

        configuration = Config(
            # With boto3's defaults a ranged GET raises FlexibleChecksumError on servers without full checksum support.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=self._connections,
            s3={"addressing_style": "path" if self.address.endpoint_url else "auto"},
        )
        with _one_at_a_time:
            client: S3Client = _session().client(
                "s3",
                endpoint_url=self.address.endpoint_url,
                region_name=self.address.region,
                aws_access_key_id=_reveal(self.address.access_key_id),
                aws_secret_access_key=_reveal(self.address.secret_access_key),
                config=configuration,
            )
        client.meta.events.register("before-call.s3", _refuse_what_is_not_allowed)
        return client

    @cached_property
    def _ranged_reads(self) -> RangedReads | None:
        """None where the address of the bucket is boto3's to find."""
        if self.address.endpoint_url is None:
            return None
        with _one_at_a_time:
            return RangedReads(
                self._credentials(),
                f"{self.address.endpoint_url.rstrip('/')}/{self.address.name}",
                self.address.region,
                certificates=_session()._session.get_config_variable("ca_bundle"),  # boto3 has no other way to it
                connections=self._connections,
                timeouts_seconds=(_CONNECT_SECONDS, _READ_SECONDS),
            )

    def _credentials(self) -> Credentials | None:
        """Returns those of the address, or those that boto3 finds."""
        from botocore.credentials import Credentials

        key, secret = _reveal(self.address.access_key_id), _reveal(self.address.secret_access_key)
        return Credentials(key, secret) if key and secret else _session().get_credentials()

    def put(self, key: str, body: bytes) -> None:
        """Stores `body` under `key`; the server checks its MD5 digest.

        Raises:
            ObjectStoreUnavailable: the store does not answer or refuses; whether the object exists is unknown.
        """
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with _typed_errors(key):
            self.client.put_object(Bucket=self.address.name, Key=key, Body=body, ContentMD5=digest)

    def get(self, key: str) -> bytes:
        """Returns the whole object.

        Raises:
            ObjectMissing: there is none.
        """
        with _typed_errors(key):
            return self.client.get_object(Bucket=self.address.name, Key=key)["Body"].read()

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yields the whole object, a part at a time.

        Raises:
            ObjectMissing: there is none.
        """
        with _typed_errors(key):
            yield from self.client.get_object(Bucket=self.address.name, Key=key)["Body"].iter_chunks(_PIECE_BYTES)

    def get_range(self, key: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Returns `size_bytes` bytes from `offset_bytes` on.

        Raises:
            ObjectMissing: there is no object under the key.
            IntegrityError: the object ends before the range does.
        """
        if size_bytes == 0:
            return b""
        quick = self._ranged_reads.get(key, offset_bytes, size_bytes) if self._ranged_reads else None
        if quick is not None:
            return quick
        with _typed_errors(key):
            answer = self.client.get_object(
                Bucket=self.address.name, Key=key, Range=f"bytes={offset_bytes}-{offset_bytes + size_bytes - 1}"
            )
            body = answer["Body"].read()
        if len(body) != size_bytes:
            raise IntegrityError(
                f"object {key}", f"gave {len(body)} of {size_bytes} bytes from {offset_bytes}", "Run 'content verify'."
            )
        return body

    def size_bytes(self, key: str) -> int | None:
        """Returns the object's size, None when there is none."""
        try:
            with _typed_errors(key):
                return int(self.client.head_object(Bucket=self.address.name, Key=key)["ContentLength"])
        except ObjectMissing:
            return None

    def delete(self, keys: list[str]) -> None:
        """Deletes the objects; one that is not there counts as deleted."""
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            with _typed_errors(batch[0]):
                answer = self.client.delete_objects(
                    Bucket=self.address.name, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            failed = [error for error in answer.get("Errors", []) if error.get("Code") != "NoSuchKey"]
            if failed:
                raise ObjectStoreUnavailable(
                    f"object {failed[0].get('Key')}",
                    f"could not be deleted ({failed[0].get('Code')}; {len(failed)} in this batch)",
                    "Check the bucket's rights, then run again.",
                )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the objects whose keys start with `prefix`, in key order, a page at a time."""
        with _typed_errors(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.address.name, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield ObjectInfo(entry["Key"], entry["Size"])


class _typed_errors:  # noqa: N801 - reads as a statement
    """Turns botocore's errors into this platform's, naming the key and never the credentials."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in {"NoSuchKey", "404", "NotFound"}:
                raise ObjectMissing(
                    f"object {self.key}", "is not in the object store", "Run 'penguinmails content check'."
                ) from None
            if code in {"InvalidRange", "416"}:
                raise IntegrityError(
                    f"object {self.key}", "ends before the range asked for", "Run 'content verify'."
                ) from None
            raise ObjectStoreUnavailable(
                f"object {self.key}",
                f"the object store refused: {code}",
                "Check its room, rights and credentials, and 'penguinmails doctor'.",
            ) from error
        if isinstance(error, BotoCoreError):
            raise ObjectStoreUnavailable(
                f"object {self.key}",
                f"the object store does not answer ({type(error).__name__})",
                "Start it (penguinmails up) or check PENGUINMAILS_S3_ENDPOINT_URL, then run again.",
            ) from error


def _refuse_what_is_not_allowed(model: Any, **_: object) -> None:
    if model.name not in ALLOWED_OPERATIONS:
        raise OperationNotAllowed(
            f"S3 operation {model.name}", "is not on the allow-list", "Use the operations of Bucket."
        )


@cache
def _session() -> boto3.session.Session:
    """The one session of this process: it keeps what every client reads of S3, which takes a tenth of a second."""
    import boto3

    return boto3.session.Session()


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
