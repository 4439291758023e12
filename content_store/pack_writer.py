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
from penguinmails.content_store.errors import AttachmentLost, ContentDamaged, PackLost
from penguinmails.content_store.index import QUERIES, Connection, Cursor
from penguinmails.content_store.pack import Directory, Entry, build_pack, must_be_whole
from penguinmails.content_store.ports import BodyToStore
from penguinmails.content_store.sealed_message import SealedMessage, seal_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.shared_attachments import Attachments, find_attachments
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
        AttachmentLost: an attachment shared with older messages was erased meanwhile; write the pack again.
        ContentDamaged: what was read back is not what was sent; nothing points to the pack.
        ServerError: the object store or the content database does not answer; run again.
    """
    pack_id = uuid_utils.compat.uuid7()
    object_key = pack_key(pack.group, pack_id)
    planned = Directory(pack.group, pack_id, [])
    record_pack(connection, planned, object_key, pack.key, pack.dictionary.dictionary_id, now=clock())
    at_step(HandOverStep.PACK_RECORDED)
    try:
        attachments = find_attachments(connection, pack.group, pack.key, pack.bodies)
        directory, sealed = _seal(pack, pack_id, attachments)
        content = build_pack(directory, [message.sealed for message in sealed], pack.key)
        must_be_whole(content, directory, pack.key)
        at_step(HandOverStep.BUILT)
        digest = store_and_read_back(bucket, object_key, content, stored=lambda: at_step(HandOverStep.STORED))
        at_step(HandOverStep.READ_BACK)
        _commit(connection, pack, directory, sealed, attachments, size_bytes=len(content), digest=digest, now=clock())
    except (PlatformError, psycopg.Error):
        give_up(connection, bucket, pack_id, object_key, now=clock())
        raise
    at_step(HandOverStep.COMMITTED)
    return PackWritten(len(pack.bodies), sum(len(body.raw_message) for body in pack.bodies), len(content))


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


def _seal(pack: PackToWrite, pack_id: UUID, attachments: Attachments) -> tuple[Directory, list[SealedMessage]]:
    """Seals the messages, then the attachments they bring."""
    entries, sealed = list[Entry](), list[SealedMessage]()
    for body in pack.bodies:
        split = attachments.splits.get(body.message_id)
        form, frame = (Form.WHOLE, None) if split is None else (Form.SPLIT, split.to_bytes())
        message = _sealed(pack, body.message_id, body.raw_message, form, frame=frame)
        sealed.append(message)
        entries.append(_entry(pack, body.message_id, body.created, message))
    for new in attachments.new:
        message = _sealed(pack, new.attachment_id, new.content, Form.ATTACHMENT, content_hash=new.content_hash)
        sealed.append(message)
        entries.append(_entry(pack, new.attachment_id, new.created_at, message))
    return Directory(pack.group, pack_id, entries), sealed


def _sealed(
    pack: PackToWrite,
    own_id: UUID,
    raw: bytes,
    form: Form,
    *,
    frame: bytes | None = None,
    content_hash: str | None = None,
) -> SealedMessage:
    tenant_id = pack.group.tenant_id
    return seal_message(
        raw,
        tenant_id=tenant_id,
        storage_key=storage_key(tenant_id, own_id),
        key=pack.key,
        dictionary=pack.dictionary,
        form=form,
        frame=frame,
        content_hash=content_hash,
    )


def _entry(pack: PackToWrite, own_id: UUID, created_at: datetime, message: SealedMessage) -> Entry:
    return Entry(own_id, created_at, message.raw_size_bytes, len(message.sealed), pack.dictionary.dictionary_id)


def _commit(
    connection: Connection,
    pack: PackToWrite,
    directory: Directory,
    sealed: Sequence[SealedMessage],
    attachments: Attachments,
    *,
    size_bytes: int,
    digest: bytes,
    now: datetime,
) -> None:
    group = pack.group
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
                "tenant_id": group.tenant_id,
                "retention_class": group.retention_class,
                "ingest_month": group.ingest_month,
                "keep_days": pack.keep_days,
                "compression_algorithm": codec.ALGORITHM,
                "pack_id": directory.pack_id,
                "dictionary_id": pack.dictionary.dictionary_id,
                "key_generation": pack.key.generation,
                "now": now,
            },
        )
        if attachments.splits:
            _link(cursor, group, directory.pack_id, attachments)
        cursor.executemany(QUERIES["add_attachment"], list(_attachment_rows(pack, directory, attachments)))


def _link(cursor: Cursor, group: PackGroup, pack_id: UUID, attachments: Attachments) -> None:
    """Says which attachments each message uses; under the tenant's lock none of them can be erased meanwhile."""
    message_keys, parts, hashes = zip(*attachments.uses(group), strict=True)
    cursor.execute(
        QUERIES["link_attachments"],
        {
            "tenant_id": group.tenant_id,
            "retention_class": group.retention_class,
            "ingest_month": group.ingest_month,
            "pack_id": pack_id,
            "message_keys": list(message_keys),
            "parts": list(parts),
            "hashes": list(hashes),
        },
    )
    (missing,) = cursor.fetchone() or (0,)
    if missing:
        raise AttachmentLost(f"pack {pack_id}", "shares an attachment that was erased meanwhile", "Run it again.")


def _attachment_rows(pack: PackToWrite, directory: Directory, attachments: Attachments) -> Iterator[dict[str, Any]]:
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
                "content_hash": pack.key.digest(item.content) if body.message_id in attachments.splits else None,
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
        f"\t{entry.sealed_size_bytes}\t{offset}\t\\\\x{message.wrapped_key.hex()}\t{message.form}\n"
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
