"""Writing one pack: record it, build it, store it, read it back, commit its rows.

The order is what makes it crash-safe: the pack's row exists before its object, the object is read back whole before any
row points into it, and no transaction is open while the object store is asked.

Belongs here: that order. Does not belong here: where messages come from (hand_over.py, compaction.py).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import uuid_utils.compat

from penguinmails.content_store import codec, message_parts
from penguinmails.content_store.codec import Dictionary
from penguinmails.content_store.deletion import lock_tenant
from penguinmails.content_store.errors import ContentDamaged, PackLost
from penguinmails.content_store.index import QUERIES, Connection
from penguinmails.content_store.pack import Directory, Entry, build_pack, read_directory
from penguinmails.content_store.ports import BodyToStore
from penguinmails.content_store.sealed_message import SealedMessage, seal_message
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.steps import AtStep, HandOverStep
from penguinmails.content_store.storage_layout import LEASE, PackGroup, pack_key, storage_key
from penguinmails.stack.errors import InputError, PlatformError
from penguinmails.stack.object_store import Bucket


@dataclass(frozen=True)
class PackToWrite:
    """What goes into one pack."""

    group: PackGroup
    keep_days: int
    key: TenantKey
    dictionary: Dictionary
    bodies: Sequence[BodyToStore]


@dataclass(frozen=True)
class PackWritten:
    """What came of it."""

    messages: int
    raw_bytes: int
    pack_bytes: int


def write_pack(
    connection: Connection,
    bucket: Bucket,
    pack: PackToWrite,
    *,
    clock: Callable[[], datetime],
    at_step: AtStep,
) -> PackWritten:
    """Stores the messages; afterwards the index points to them.

    Raises:
        PackLost: it took longer than the lease, or the tenant's key was dropped; nothing points to the pack.
        ContentDamaged: what was read back is not what was sent; nothing points to the pack.
        ServerError: the object store or the content database does not answer; run again.
    """
    pack_id = uuid_utils.compat.uuid7()
    object_key = pack_key(pack.group, pack_id)
    planned = Directory(pack.group, pack_id, [])
    record_pack(connection, planned, object_key, pack.key, pack.dictionary.dictionary_id, now=clock())
    at_step(HandOverStep.PACK_RECORDED)
    try:
        directory, sealed = _seal(pack, pack_id)
        content = build_pack(directory, [message.sealed for message in sealed], pack.key)
        if read_directory(content, pack.key, thing=f"pack {pack_id}").entries != directory.entries:
            raise ContentDamaged(f"pack {pack_id}", "did not survive building", "Test this machine's memory.")
        at_step(HandOverStep.BUILT)
        digest = store_and_read_back(bucket, object_key, content, stored=lambda: at_step(HandOverStep.STORED))
        at_step(HandOverStep.READ_BACK)
        _commit(connection, pack, directory, sealed, size_bytes=len(content), digest=digest, now=clock())
    except (PlatformError, psycopg.Error):
        give_up(connection, bucket, pack_id, object_key, now=clock())
        raise
    at_step(HandOverStep.COMMITTED)
    return PackWritten(len(sealed), sum(message.raw_size_bytes for message in sealed), len(content))


def record_pack(
    connection: Connection, directory: Directory, object_key: str, key: TenantKey, dictionary_id: int, *, now: datetime
) -> None:
    """Makes the pack known before its object exists."""
    connection.execute(
        QUERIES["record_pack"],
        {
            "pack_id": directory.pack_id,
            "tenant_id": directory.group.tenant_id,
            "retention_class": directory.group.retention_class,
            "ingest_month": directory.group.ingest_month,
            "object_key": object_key,
            "key_generation": key.generation,
            "dictionary_id": dictionary_id,
            "lease_until": now + LEASE,
            "now": now,
        },
    )


def store_and_read_back(bucket: Bucket, object_key: str, content: bytes, *, stored: Callable[[], None]) -> bytes:
    """Stores the object, reads it back whole and returns its SHA-256.

    Raises:
        ContentDamaged: it reads back as something else.
    """
    digest = hashlib.sha256(content).digest()
    bucket.put(object_key, content)
    stored()
    if hashlib.sha256(bucket.get(object_key)).digest() != digest:
        raise ContentDamaged(
            f"object {object_key}", "reads back as other bytes than were stored", "Check the object store."
        )
    return digest


def _seal(pack: PackToWrite, pack_id: UUID) -> tuple[Directory, list[SealedMessage]]:
    tenant_id = pack.group.tenant_id
    sealed = [
        seal_message(
            body.raw_message,
            tenant_id=tenant_id,
            storage_key=storage_key(tenant_id, body.message_id),
            key=pack.key,
            dictionary=pack.dictionary,
        )
        for body in pack.bodies
    ]
    entries = [
        Entry(
            body.message_id,
            body.created,
            message.raw_size_bytes,
            len(message.sealed),
            pack.dictionary.dictionary_id,
        )
        for body, message in zip(pack.bodies, sealed, strict=True)
    ]
    return Directory(pack.group, pack_id, entries), sealed


def _commit(
    connection: Connection,
    pack: PackToWrite,
    directory: Directory,
    sealed: Sequence[SealedMessage],
    *,
    size_bytes: int,
    digest: bytes,
    now: datetime,
) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        lock_tenant(connection, pack.group.tenant_id)
        cursor.execute(
            QUERIES["pack_goes_live"],
            {
                "pack_id": directory.pack_id,
                "size_bytes": size_bytes,
                "sha256": digest,
                "messages": len(sealed),
                "now": now,
            },
        )
        if cursor.rowcount != 1:
            raise PackLost(
                f"pack {directory.pack_id}",
                "took longer than its lease, or its tenant was erased meanwhile, and was given up",
                "Run the hand-over again.",
            )
        cursor.execute(QUERIES["make_staging"])
        with cursor.copy(QUERIES["fill_staging"]) as copy:
            copy.write(_staged_rows(directory, sealed))
        cursor.execute(
            QUERIES["add_staged_objects"],
            {
                "tenant_id": pack.group.tenant_id,
                "retention_class": pack.group.retention_class,
                "keep_days": pack.keep_days,
                "compression_algorithm": codec.ALGORITHM,
                "pack_id": directory.pack_id,
                "dictionary_id": pack.dictionary.dictionary_id,
                "key_generation": pack.key.generation,
            },
        )
        cursor.executemany(QUERIES["add_attachment"], list(_attachment_rows(pack, directory)))


def _attachment_rows(pack: PackToWrite, directory: Directory) -> Iterator[dict[str, Any]]:
    """Yields what the table of attachments says of these messages; only messages that seem to have any are parsed."""
    for body in pack.bodies:
        if not message_parts.may_have_attachments(body.raw_message):
            continue
        try:
            found = message_parts.attachments(body.raw_message)
        except InputError:  # too broken to be taken apart; it is kept whole all the same
            continue
        for item in found:
            yield {
                "id": uuid_utils.compat.uuid7(),
                "tenant_id": body.tenant_id,
                "storage_key": storage_key(body.tenant_id, body.message_id),
                "pack_id": directory.pack_id,
                "filename": _shown(item.filename, 255),
                "mime_type": _shown(item.mime_type, 100) or "application/octet-stream",
                "size_bytes": len(item.content),
                "disposition": item.disposition,
                "created_at": body.created,
            }


def _shown(text: str | None, most_characters: int) -> str | None:
    """Returns text that PostgreSQL takes: no NUL, no lone surrogates of broken headers, no longer than the column."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most_characters]


def _staged_rows(directory: Directory, sealed: Sequence[SealedMessage]) -> bytes:
    """Returns COPY's text format; every value is a number, hexadecimal, a time or a storage key, so nothing needs escapes."""
    return "".join(
        f"{message.storage_key}\t{message.raw_size_bytes}\t{entry.created_at.isoformat()}\t{message.content_hash}"
        f"\t{entry.sealed_size_bytes}\t{offset}\t\\\\x{message.wrapped_key.hex()}\n"
        for message, entry, offset in zip(sealed, directory.entries, directory.offsets(), strict=True)
    ).encode("ascii")


def give_up(
    connection: Connection,
    bucket: Bucket,
    pack_id: UUID,
    object_key: str,
    *,
    now: datetime,
) -> None:
    """Condemns the pack at once where the database still answers; otherwise its lease runs out."""
    with contextlib.suppress(psycopg.Error):
        condemned = connection.execute(QUERIES["condemn_pack"], {"pack_id": pack_id, "delete_after": now})
        if condemned.rowcount == 0:  # taken from us, or committed after all: the sweep knows what to do with it
            return
    with contextlib.suppress(PlatformError):
        bucket.delete([object_key])
