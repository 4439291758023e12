"""Many messages of one tenant sealed in one call: work that can be given to another process.

Belongs here: what goes in and what comes out, column by column, and the steps between. Does not belong here: opening a
message (sealed_message.py), the processes (sealing_processes.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from penguinmails.content_store import message_parts
from penguinmails.content_store.codec import Dictionary, compress, gives
from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.recoded_message import MARK_BYTES
from penguinmails.content_store.sealing import Form, TenantKey, message_context, new_data_key, seal, unseal
from penguinmails.stack.errors import InputError

_REMEDY = "Test this machine's memory; nothing was stored."


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
    """What is stored: the message, the attachment, or of a recoded message its recipe and text."""
    raw_sizes_bytes: list[int]
    content_hashes: list[str | None]
    """Keyed hashes where they are known already; of recoded messages, those of the originals."""
    abridged: list[bytes | None] = field(repr=False)
    """Of recoded messages: where their attachments are looked for."""

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
    """Compresses and seals each message, then unseals and decompresses it again as a reader would and compares.

    One step for all messages, then the next: each finds its form of the dictionary in the processor's cache. Message by
    message the same takes twice as long.

    Raises:
        ContentDamaged: what came back is not what went in; nothing was stored.
    """
    sealed = [compress(content, dictionary) for content in batch.contents]
    data_keys = [new_data_key() for _ in sealed]
    contexts = [
        message_context(form, batch.tenant_id, storage_key, raw_size_bytes)
        for form, storage_key, raw_size_bytes in zip(
            batch.forms, batch.storage_keys, batch.raw_sizes_bytes, strict=True
        )
    ]
    for place, (data_key, context) in enumerate(zip(data_keys, contexts, strict=True)):
        sealed[place] = seal(sealed[place], data_key, context)
    for place, content in enumerate(batch.contents):
        thing = f"message {batch.storage_keys[place]}"
        frame = unseal(sealed[place], data_keys[place], contexts[place], thing=thing)
        if not gives(frame, dictionary, content, thing=thing):
            raise ContentDamaged(thing, "did not survive compression", _REMEDY)
    return SealedBatch(
        [
            key.digest(content) if known is None else known
            for content, known in zip(batch.contents, batch.content_hashes, strict=True)
        ],
        [key.wrap(data_key) for data_key in data_keys],
        sealed,
        [
            None if form is Form.ATTACHMENT else _listed(abridged or content)
            for form, content, abridged in zip(batch.forms, batch.contents, batch.abridged, strict=True)
        ],
    )


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
