"""One message from raw bytes to what stands in a pack, and back: the only two functions that do it.

Belongs here: the order of steps (compress, seal; unseal, decompress, compare). Does not belong here: packs, the index.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import UUID

from penguinmails.content_store.codec import Dictionary, compress, decompress
from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.sealing import TenantKey, message_context, new_data_key, seal, unseal


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """What the pack and the index hold of a message."""

    storage_key: str
    raw_size_bytes: int
    content_hash: str
    wrapped_key: bytes
    sealed: bytes


def seal_message(
    raw: bytes, *, tenant_id: UUID, storage_key: str, key: TenantKey, dictionary: Dictionary
) -> SealedMessage:
    """Compresses and seals a message, then opens it again exactly as a reader would and compares.

    Raises:
        ContentDamaged: what came back is not what went in; nothing was stored.
    """
    data_key = new_data_key()
    context = message_context(tenant_id, storage_key, len(raw))
    message = SealedMessage(
        storage_key,
        len(raw),
        key.digest(raw),
        key.wrap(data_key),
        seal(compress(raw, dictionary), data_key, context),
    )
    if open_message(message, tenant_id=tenant_id, key=key, dictionary=dictionary, compare_hash=False) != raw:
        raise ContentDamaged(
            f"message {storage_key}", "did not survive compression", "Test this machine's memory; nothing was stored."
        )
    return message


def open_message(
    message: SealedMessage, *, tenant_id: UUID, key: TenantKey, dictionary: Dictionary, compare_hash: bool = True
) -> bytes:
    """Returns the raw message, bit for bit.

    Raises:
        ContentDamaged: it is not the message that was stored under this key.
        TenantKeyWrong: the tenant's key does not open it.
    """
    thing = f"message {message.storage_key}"
    data_key = key.unwrap(message.wrapped_key, thing=thing)
    context = message_context(tenant_id, message.storage_key, message.raw_size_bytes)
    frame = unseal(message.sealed, data_key, context, thing=thing)
    raw = decompress(frame, dictionary, raw_size_bytes=message.raw_size_bytes, thing=thing)
    if compare_hash and not hmac.compare_digest(key.digest(raw), message.content_hash):
        raise ContentDamaged(thing, "is not what was stored (its hash differs)", "Run 'penguinmails content verify'.")
    return raw
