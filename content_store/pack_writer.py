"""Writing one pack: record it, build it, store it, read it back, commit its rows.

The order is what makes it crash-safe: the pack's row exists before its object, the object is read back whole before any
row points into it, and no transaction is open while the object store is asked.

Belongs here: that order. Does not belong here: where messages come from (hand_over.py, compaction.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import uuid_utils.compat

from penguinmails.content_store import codec
from penguinmails.content_store.codec import Dictionary
from penguinmails.content_store.deletion import lock_tenant
from penguinmails.content_store.errors import AttachmentLost, ContentDamaged, PackLost
from penguinmails.content_store.index import QUERIES, Connection, Cursor
from penguinmails.content_store.pack import Directory, Entry, build_pack, must_be_whole
from penguinmails.content_store.ports import BodyToStore
from penguinmails.content_store.recoded_message import marked_attachment
from penguinmails.content_store.sealed_batch import ListedAttachment, SealedBatch, UnsealedBatch
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.sealing_processes import SealingProcesses
from penguinmails.content_store.shared_attachments import Attachments, find_attachments
from penguinmails.content_store.steps import AtStep, HandOverStep
from penguinmails.content_store.storage_layout import LEASE, PackGroup, pack_key, storage_key
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.object_store import Bucket

_STAGED_TYPES = ("varchar", "int8", "timestamptz", "varchar", "int8", "int8", "bytea", "varchar")


class NamedBody(NamedTuple):
    """A message with its storage key, which is computed once."""

    storage_key: str
    body: BodyToStore


@dataclass(frozen=True)
class PackToWrite:
    """What goes into one pack."""

    group: PackGroup
    keep_days: int
    key: TenantKey
    dictionary: Dictionary
    members: Sequence[NamedBody]


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
    processes: SealingProcesses,
    clock: Callable[[], datetime],
    at_step: AtStep,
) -> PackWritten:
    """Stores the messages; afterwards the index points to them.

    Args:
        processes: where messages are sealed.

    Raises:
        PackLost: it took longer than the lease, or the tenant's key was dropped; nothing points to the pack.
        AttachmentLost: an attachment shared with older messages was erased meanwhile; write the pack again.
        ContentDamaged: what was read back is not what was sent; nothing points to the pack.
        ServerError: the object store, the content database or a sealing process does not answer; run again.
    """
    pack_id = uuid_utils.compat.uuid7()
    object_key = pack_key(pack.group, pack_id)
    planned = Directory(pack.group, pack_id, [])
    record_pack(connection, planned, object_key, pack.key, pack.dictionary.dictionary_id, now=clock())
    at_step(HandOverStep.PACK_RECORDED)
    try:
        attachments = find_attachments(connection, pack.group, pack.key, [member.body for member in pack.members])
        batch = _unsealed(pack, attachments)
        made = processes.seal(batch, pack.key, pack.dictionary)
        directory = _directory(pack, pack_id, attachments, batch, made)
        staged = _staged_rows(batch, directory, made)
        listed = list(_attachment_rows(pack, pack_id, attachments, made))
        uses = attachments.uses(pack.group)
        raw_bytes = sum(batch.raw_sizes_bytes[: len(pack.members)])
        del attachments, batch
        content = build_pack(directory, made.sealed, pack.key)
        del made
        must_be_whole(content, directory, pack.key)
        at_step(HandOverStep.BUILT)
        digest = store_and_read_back(bucket, object_key, content, stored=lambda: at_step(HandOverStep.STORED))
        at_step(HandOverStep.READ_BACK)
        going_live = {"pack_id": pack_id, "size_bytes": len(content), "sha256": digest, "messages": len(staged)}
        _commit(connection, pack, going_live, staged, uses, listed, now=clock())
    except (PlatformError, psycopg.Error):
        give_up(connection, bucket, pack_id, object_key, now=clock())
        raise
    at_step(HandOverStep.COMMITTED)
    return PackWritten(len(pack.members), raw_bytes, len(content))


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
    read_back = hashlib.sha256()
    for piece in bucket.pieces(object_key):
        read_back.update(piece)
    if read_back.digest() != digest:
        raise ContentDamaged(
            f"object {object_key}", "reads back as other bytes than were stored", "Check the object store."
        )
    return digest


def _unsealed(pack: PackToWrite, attachments: Attachments) -> UnsealedBatch:
    """Returns the messages, then the attachments they bring."""
    names = [member.storage_key for member in pack.members]
    names += [storage_key(pack.group.tenant_id, new.attachment_id) for new in attachments.new]
    contents = [member.body.raw_message for member in pack.members] + [new.content for new in attachments.new]
    forms = [Form.WHOLE] * len(pack.members) + [Form.ATTACHMENT] * len(attachments.new)
    hashes: list[str | None] = [None] * len(pack.members)
    hashes += [new.content_hash for new in attachments.new]
    abridged: list[bytes | None] = [None] * len(names)
    raw_sizes_bytes = list(map(len, contents))
    if attachments.recoded:
        for place, (_, body) in enumerate(pack.members):
            recoded = attachments.recoded.get(body.message_id)
            if recoded is not None:
                forms[place], contents[place] = Form.RECODED, recoded.to_bytes()
                hashes[place] = pack.key.digest(body.raw_message)
                abridged[place] = recoded.abridged(attachments.secret)
    return UnsealedBatch(pack.group.tenant_id, names, forms, contents, raw_sizes_bytes, hashes, abridged)


def _directory(
    pack: PackToWrite, pack_id: UUID, attachments: Attachments, batch: UnsealedBatch, made: SealedBatch
) -> Directory:
    ids = [body.message_id for _, body in pack.members] + [new.attachment_id for new in attachments.new]
    created = [body.created for _, body in pack.members] + [new.created_at for new in attachments.new]
    dictionaries = itertools.repeat(pack.dictionary.dictionary_id, len(ids))
    columns = zip(ids, created, batch.raw_sizes_bytes, map(len, made.sealed), dictionaries, strict=True)
    return Directory(pack.group, pack_id, list(itertools.starmap(Entry, columns)))


def _commit(
    connection: Connection,
    pack: PackToWrite,
    going_live: dict[str, Any],
    staged: Sequence[tuple[Any, ...]],
    uses: Sequence[tuple[str, int, str]],
    listed: Sequence[dict[str, Any]],
    *,
    now: datetime,
) -> None:
    group, pack_id = pack.group, going_live["pack_id"]
    with connection.transaction(), connection.cursor() as cursor:
        lock_tenant(connection, pack.group.tenant_id)
        cursor.execute(QUERIES["pack_goes_live"], going_live | {"now": now})
        if cursor.rowcount != 1:
            raise PackLost(
                f"pack {pack_id}",
                "took longer than its lease, or its tenant was erased meanwhile, and was given up",
                "Run the hand-over again.",
            )
        cursor.execute(QUERIES["make_staging"])
        with cursor.copy(QUERIES["fill_staging"]) as copy:
            copy.set_types(_STAGED_TYPES)
            for row in staged:
                copy.write_row(row)
        cursor.execute(
            QUERIES["add_staged_objects"],
            {
                "tenant_id": group.tenant_id,
                "retention_class": group.retention_class,
                "ingest_month": group.ingest_month,
                "keep_days": pack.keep_days,
                "compression_algorithm": codec.ALGORITHM,
                "pack_id": pack_id,
                "dictionary_id": pack.dictionary.dictionary_id,
                "key_generation": pack.key.generation,
                "now": now,
            },
        )
        if uses:
            _link(cursor, group, pack_id, uses)
        cursor.executemany(QUERIES["add_attachment"], listed)


def _link(cursor: Cursor, group: PackGroup, pack_id: UUID, uses: Sequence[tuple[str, int, str]]) -> None:
    """Says which attachments each message uses; under the tenant's lock none of them can be erased meanwhile."""
    message_keys, parts, hashes = zip(*uses, strict=True)
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


def _attachment_rows(
    pack: PackToWrite, pack_id: UUID, attachments: Attachments, made: SealedBatch
) -> Iterator[dict[str, Any]]:
    """Yields what the table of attachments says of these messages."""
    for (name, body), found in zip(pack.members, made.attachments, strict=False):  # what follows are attachments
        for item in found or ():
            size_bytes, content_hash = _apart(item, body.message_id, attachments)
            yield {
                "id": uuid_utils.compat.uuid7(),
                "tenant_id": body.tenant_id,
                "storage_key": name,
                "pack_id": pack_id,
                "filename": _shown(item.filename, 255),
                "mime_type": _shown(item.mime_type, 100) or "application/octet-stream",
                "size_bytes": size_bytes,
                "disposition": item.disposition,
                "created_at": body.created,
                "content_hash": content_hash,
            }


def _apart(item: ListedAttachment, message_id: UUID, attachments: Attachments) -> tuple[int, str | None]:
    """Returns an attachment's size and, where it is stored apart, its keyed hash."""
    recoded = attachments.recoded.get(message_id)
    number = marked_attachment(item.beginning, attachments.secret) if recoded else None
    if recoded is None or number is None:
        return item.size_bytes, None
    size_bytes = item.size_bytes - len(item.beginning) + len(recoded.attachments[number])
    return size_bytes, attachments.hashes[message_id][number]


def _shown(text: str | None, most_characters: int) -> str | None:
    """Returns text that PostgreSQL takes: no NUL, no lone surrogates of broken headers, no longer than the column."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most_characters]


def _staged_rows(batch: UnsealedBatch, directory: Directory, made: SealedBatch) -> list[tuple[Any, ...]]:
    """Returns rows of the table that `make_staging` makes."""
    return [
        (name, entry.raw_size_bytes, entry.created_at, content_hash, entry.sealed_size_bytes, offset, wrapped_key, form)
        for name, form, entry, offset, content_hash, wrapped_key in zip(
            batch.storage_keys,
            batch.forms,
            directory.entries,
            directory.offsets(),
            made.content_hashes,
            made.wrapped_keys,
            strict=True,
        )
    ]


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
