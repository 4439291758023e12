"""One message as it stands in a pack and in the index, and opening it: the only functions that do it.

Belongs here: unseal, decompress, compare. Does not belong here: sealing (sealed_batch.py), packs, the index, how a recoded
message is put together (recoded_message.py).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import UUID

from penguinmails.content_store.codec import Dictionary, decompress, stated_size_bytes
from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.recoded_message import Recipe
from penguinmails.content_store.sealing import Form, TenantKey, message_context, unseal


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """What the pack and the index hold of a message, or of an attachment stored apart."""

    storage_key: str
    raw_size_bytes: int
    content_hash: str
    wrapped_key: bytes
    sealed: bytes
    form: Form = Form.WHOLE


def open_message(message: SealedMessage, *, tenant_id: UUID, key: TenantKey, dictionary: Dictionary) -> bytes | Recipe:
    """Returns the raw message (or attachment), bit for bit; of one that needs attachments too, its recipe.

    Raises:
        ContentDamaged: it is not the message that was stored under this key. The hash of one with attachments covers those
            too: compare it when it is put together.
        TenantKeyWrong: the tenant's key does not open it.
    """
    raw = _open_frame(message, tenant_id=tenant_id, key=key, dictionary=dictionary)
    if message.form.is_recipe:
        recipe = Recipe.read(raw, message.form, thing=f"message {message.storage_key}")
        if recipe.attachments:
            return recipe
        raw = recipe.join(())
    must_be_what_was_stored(raw, message, key)
    return raw


def must_be_what_was_stored(raw: bytes, message: SealedMessage, key: TenantKey) -> None:
    """Compares a message with its keyed hash.

    Raises:
        ContentDamaged: it is another one.
    """
    if not hmac.compare_digest(key.digest(raw), message.content_hash):
        raise ContentDamaged(
            f"message {message.storage_key}",
            "is not what was stored (its hash differs)",
            "Run 'penguinmails content verify'.",
        )


def _open_frame(message: SealedMessage, *, tenant_id: UUID, key: TenantKey, dictionary: Dictionary) -> bytes:
    thing = f"message {message.storage_key}"
    data_key = key.unwrap(message.wrapped_key, thing=thing)
    context = message_context(message.form, tenant_id, message.storage_key, message.raw_size_bytes)
    frame = unseal(message.sealed, data_key, context, thing=thing)
    size_bytes = message.raw_size_bytes
    if message.form.is_recipe:  # its frame is smaller than the message; that it says how much is sealed with it
        size_bytes = min(size_bytes, stated_size_bytes(frame, thing=thing))
    return decompress(frame, dictionary, raw_size_bytes=size_bytes, thing=thing)
