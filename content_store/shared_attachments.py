"""Attachments stored once for a tenant, retention class and month of intake, however many messages have them.

An attachment is a sealed frame of its own with a row of its own in content_objects: its key, its place, its retention.
Messages that use it are told by attachment_uses; its key is dropped in the transaction that drops the key of the last of
them (deletion.sql), so erasing one message never harms another.

Belongs here: which attachments a pack brings, which are there already. Does not belong here: cutting messages
(recoded_message.py), committing a pack (pack_writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import uuid_utils.compat

from penguinmails.content_store.index import QUERIES, Connection
from penguinmails.content_store.ports import BodyToStore
from penguinmails.content_store.recoded_message import RecodedMessage, new_secret, recode_message
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.storage_layout import PackGroup, storage_key


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """One that this pack brings."""

    attachment_id: UUID
    created_at: datetime
    content: bytes
    content_hash: str


@dataclass(frozen=True)
class Attachments:
    """The messages of one pack that are stored recoded, and their large attachments."""

    recoded: dict[UUID, RecodedMessage]
    """By message id."""
    hashes: dict[UUID, tuple[str, ...]]
    """Keyed hashes of each such message's attachments, in order; of many there are none."""
    new: Sequence[NewAttachment]
    secret: bytes = field(default_factory=new_secret, repr=False)
    """Of the marks in the abridged messages."""

    def uses(self, group: PackGroup) -> list[tuple[str, int, str]]:
        """Returns (storage key of the message, number of the part, keyed hash)."""
        return [
            (storage_key(group.tenant_id, message_id), part, content_hash)
            for message_id, hashes in self.hashes.items()
            for part, content_hash in enumerate(hashes)
        ]


def find_attachments(
    connection: Connection, group: PackGroup, key: TenantKey, bodies: Sequence[BodyToStore]
) -> Attachments:
    """Recodes messages and says which of their large attachments are not in the content tier yet."""
    recoded = {body.message_id: found for body in bodies if (found := recode_message(body.raw_message)) is not None}
    hashes = {name: tuple(map(key.digest, message.attachments)) for name, message in recoded.items()}
    if not any(hashes.values()):
        return Attachments(recoded, hashes, [])
    rows = connection.execute(
        QUERIES["attachments_already_there"],
        {
            "tenant_id": group.tenant_id,
            "retention_class": group.retention_class,
            "ingest_month": group.ingest_month,
            "hashes": sorted({each for own in hashes.values() for each in own}),
        },
    ).fetchall()
    there, new = {row[0] for row in rows}, list[NewAttachment]()
    created = {body.message_id: body.created for body in bodies}
    for message_id, message in recoded.items():
        for content, content_hash in zip(message.attachments, hashes[message_id], strict=True):
            if content_hash not in there:
                there.add(content_hash)
                made = uuid_utils.compat.uuid7()
                new.append(NewAttachment(made, created[message_id], content, content_hash))
    return Attachments(recoded, hashes, new)
