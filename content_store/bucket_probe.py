"""What this object store really does: each claim is tried on a scratch object and the object is read again.

A status of 200 proves nothing (`rclone serve s3` answers 200 to calls it does not know). A feature that is not needed is
used only where the probe has proven it. Nothing outside the client's allow-list is ever sent.

Belongs here: trying and saying what was seen. Does not belong here: using a feature.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError

from penguinmails.content_store.storage_layout import PREFIX
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.object_store import Bucket, BucketAddress, ObjectMissing

_SIZE_BYTES = 70_000
_usable: set[tuple[BucketAddress, int]] = set()


class ObjectStoreUnusable(SettingsError):
    """The object store was seen not to do what this tier needs; it would lose mail."""


@dataclass(frozen=True)
class Capability:
    """One thing an object store may do."""

    name: str
    needed: bool
    proven: bool
    detail: str


@dataclass(frozen=True)
class ProbeReport:
    """All that was tried."""

    bucket: str
    capabilities: tuple[Capability, ...]

    @property
    def usable(self) -> bool:
        """Whether everything this tier needs was proven."""
        return all(item.proven for item in self.capabilities if item.needed)


def probe_bucket(bucket: Bucket) -> ProbeReport:
    """Tries the object store on a scratch object of its own, which it removes.

    Raises:
        ObjectStoreUnavailable: the store does not answer or refuses to write at all.
    """
    key, body = f"{PREFIX}probe/{uuid.uuid4()}", os.urandom(_SIZE_BYTES)
    try:
        bucket.put(key, body)
        tried = [
            Capability("reads back what was written", True, bucket.get(key) == body, "GET after PUT"),
            Capability("gives a range", True, bucket.get_range(key, 1000, 999) == body[1000:1999], "ranged GET"),
            Capability("knows sizes", True, bucket.size_bytes(key) == len(body), "HEAD"),
            Capability("lists at once", False, any(item.key == key for item in bucket.list(key)), "LIST after PUT"),
            Capability("refuses a wrong Content-MD5", True, _refuses(bucket, key, body, _wrong_md5), "PUT, then GET"),
            Capability("refuses a wrong SHA-256", False, _refuses(bucket, key, body, _wrong_sha256), "PUT, then GET"),
            Capability("creates only when absent", False, _refuses(bucket, key, body, _if_absent), "PUT, then GET"),
        ]
    finally:
        bucket.delete([key])
    tried.append(Capability("deletes", True, _is_gone(bucket, key), "GET after DELETE"))
    return ProbeReport(bucket.address.name, tuple(tried))


def must_be_usable(bucket: Bucket) -> None:
    """Tries the object store once in this process, before anything is entrusted to it.

    Raises:
        ObjectStoreUnusable: it does not do what this tier needs.
        ObjectStoreUnavailable: it does not answer or refuses to write at all.
    """
    asked = (bucket.address, os.getpid())
    if asked in _usable:
        return
    missing = [item.name for item in probe_bucket(bucket).capabilities if item.needed and not item.proven]
    if missing:
        raise ObjectStoreUnusable(
            f"bucket {bucket.address.name}", f"does not do: {', '.join(missing)}", "Use another object store."
        )
    _usable.add(asked)


def _refuses(bucket: Bucket, key: str, body: bytes, attempt: Callable[[Bucket, str, bytes], object]) -> bool:
    """Returns whether the attempt was refused and the object is still what it was."""
    other = bytes(reversed(body))
    try:
        attempt(bucket, key, other)
    except ClientError:
        return bucket.get(key) == body
    bucket.put(key, body)
    return False


def _wrong_md5(bucket: Bucket, key: str, other: bytes) -> None:
    digest = base64.b64encode(hashlib.md5(b"something else", usedforsecurity=False).digest()).decode()
    bucket.client.put_object(Bucket=bucket.address.name, Key=key, Body=other, ContentMD5=digest)


def _wrong_sha256(bucket: Bucket, key: str, other: bytes) -> None:
    digest = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()
    bucket.client.put_object(Bucket=bucket.address.name, Key=key, Body=other, ChecksumSHA256=digest)


def _if_absent(bucket: Bucket, key: str, other: bytes) -> None:
    bucket.client.put_object(Bucket=bucket.address.name, Key=key, Body=other, IfNoneMatch="*")


def _is_gone(bucket: Bucket, key: str) -> bool:
    try:
        bucket.get(key)
    except ObjectMissing:
        return True
    return False
