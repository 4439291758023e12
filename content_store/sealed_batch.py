"""Many messages of one tenant sealed in one call: work that can be given to another process.

Belongs here: what goes in and what comes out, column by column. Does not belong here: the steps of one message
(sealed_message.py), the processes (sealing_processes.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from penguinmails.content_store import message_parts
from penguinmails.content_store.codec import Dictionary
from penguinmails.content_store.sealed_message import seal_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.split_message import MARK_BYTES
from penguinmails.stack.errors import InputError


class ListedAttachment(NamedTuple):
    """One attachment as the index lists it."""

    filename: str | None
    mime_type: str
    disposition: str
    size_bytes: int
    beginning: bytes
    """Of its content, to recognise the mark of an attachment that is stored apart."""


@dataclass(frozen=True, slots=True)
class UnsealedBatch:
    """Messages, and attachments stored apart. All columns have the same length."""

    tenant_id: UUID
    storage_keys: list[str]
    forms: list[Form]
    contents: list[bytes] = field(repr=False)
    """What is stored, as `seal_message` takes it."""
    raw_sizes_bytes: list[int]
    content_hashes: list[str | None]
    """Where they are known already."""
    abridged: list[bytes | None] = field(repr=False)
    """Of split messages: where their attachments are looked for."""

    def slices(self, *, most_messages: int, most_bytes: int) -> Iterator[UnsealedBatch]:
        """Yields the batch in parts of at most so many messages and bytes; a bigger message is a part of its own."""
        start, size_bytes = 0, 0
        for place, content in enumerate(self.contents):
            if place > start and (place - start == most_messages or size_bytes + len(content) > most_bytes):
                yield self._part(start, place)
                start, size_bytes = place, 0
            size_bytes += len(content)
        if start < len(self.contents):
            yield self._part(start, len(self.contents))

    def _part(self, start: int, end: int) -> UnsealedBatch:
        return UnsealedBatch(
            self.tenant_id,
            self.storage_keys[start:end],
            self.forms[start:end],
            self.contents[start:end],
            self.raw_sizes_bytes[start:end],
            self.content_hashes[start:end],
            self.abridged[start:end],
        )


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """What the pack and the index hold of them, in the same order."""

    content_hashes: list[str] = field(default_factory=list)
    wrapped_keys: list[bytes] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list, repr=False)
    attachments: list[list[ListedAttachment] | None] = field(default_factory=list)

    def extend(self, other: SealedBatch) -> None:
        """Adds what came of the next part."""
        self.content_hashes.extend(other.content_hashes)
        self.wrapped_keys.extend(other.wrapped_keys)
        self.sealed.extend(other.sealed)
        self.attachments.extend(other.attachments)


def seal_batch(batch: UnsealedBatch, key: TenantKey, dictionary: Dictionary) -> SealedBatch:
    """Seals each of the messages (`seal_message`) and looks for attachments in them.

    Raises:
        ContentDamaged: one did not survive; nothing was stored.
    """
    made = SealedBatch()
    columns = (
        batch.storage_keys,
        batch.forms,
        batch.contents,
        batch.raw_sizes_bytes,
        batch.content_hashes,
        batch.abridged,
    )
    for storage_key, form, content, raw_size_bytes, content_hash, abridged in zip(*columns, strict=True):
        message = seal_message(
            content,
            tenant_id=batch.tenant_id,
            storage_key=storage_key,
            key=key,
            dictionary=dictionary,
            form=form,
            raw_size_bytes=raw_size_bytes,
            content_hash=content_hash,
        )
        made.content_hashes.append(message.content_hash)
        made.wrapped_keys.append(message.wrapped_key)
        made.sealed.append(message.sealed)
        made.attachments.append(None if form is Form.ATTACHMENT else _listed(abridged or content))
    return made


def _listed(raw: bytes) -> list[ListedAttachment] | None:
    """Returns a message's attachments; only messages that seem to have any are parsed."""
    if not message_parts.may_have_attachments(raw):
        return None
    try:
        found = message_parts.attachments(raw)
    except InputError:  # too broken to be taken apart; it is kept whole all the same
        return None
    return [
        ListedAttachment(item.filename, item.mime_type, item.disposition, len(item.content), item.content[:MARK_BYTES])
        for item in found
    ] or None
