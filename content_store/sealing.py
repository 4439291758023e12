"""Encryption of one message: a random data key, used once, wrapped by the tenant's key.

Dropping a wrapped key makes its message unreadable everywhere: in the pack, in old versions and cold copies of it, in
backups of the bucket. Frames carry no reference to their pack or place, so they can be copied between packs as they are.

Belongs here: AES-256-GCM, AES key wrap (RFC 3394), HKDF (RFC 5869), what is bound to what. Does not belong here: where
tenant keys come from (keys.py).
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from penguinmails.content_store.errors import ContentDamaged, TenantKeyWrong

KEY_BYTES = 32
WRAPPED_KEY_BYTES = 40
SEAL_BYTES = 16
"""The GCM tag. No nonce is stored: each key encrypts one message once, so the nonce can be a constant."""
_NONCE = bytes(12)


class Form(StrEnum):
    """What a sealed frame holds (column `form` of content_objects)."""

    WHOLE = "whole"
    """A message as it is."""
    RECODED = "recoded"
    """A message with its base64 decoded, large attachments left out (recoded_message.py)."""
    SPLIT = "split"
    """The form before that: without its large attachments, the rest as it is. No longer written."""
    ATTACHMENT = "attachment"
    """One of those, decoded."""

    @property
    def is_recipe(self) -> bool:
        """Whether the frame says how to put a message together, and is smaller than the message."""
        return self in (Form.RECODED, Form.SPLIT)


_FORMATS = {Form.WHOLE: b"PMC1", Form.SPLIT: b"PMC2", Form.ATTACHMENT: b"PMC3", Form.RECODED: b"PMC4"}


@dataclass(frozen=True)
class TenantKey:
    """One generation of a tenant's key. Its secret never shows in a repr, log or traceback."""

    tenant_id: UUID
    generation: int
    secret: bytes = field(repr=False)
    first_secret: bytes | None = field(default=None, repr=False)
    """The secret of generation 1, where this is a later one: digests must not change when the key does."""

    def wrap(self, data_key: bytes) -> bytes:
        """Returns the 40 bytes that stand in the index."""
        return aes_key_wrap(self.secret, data_key)

    def unwrap(self, wrapped_key: bytes, *, thing: str) -> bytes:
        """Returns the data key.

        Raises:
            TenantKeyWrong: it was wrapped by another key, or altered.
        """
        try:
            return aes_key_unwrap(self.secret, wrapped_key)
        except (InvalidUnwrap, ValueError) as error:
            raise TenantKeyWrong(
                f"key generation {self.generation} of tenant {self.tenant_id}",
                f"does not open {thing}",
                "Put the tenant's right key back where keys are kept; nothing was changed.",
            ) from error

    @cached_property
    def check_value(self) -> bytes:
        """Eight bytes that tell this key from another and say nothing else about it."""
        return self.derive(b"penguinmails key check v1")[:8]

    def derive(self, purpose: bytes, salt: bytes = b"") -> bytes:
        """Returns 32 bytes for one purpose, independent of every other purpose."""
        return _derive(self.secret, purpose, salt)

    @cached_property
    def _digest_key(self) -> bytes:
        return _derive(self.first_secret or self.secret, b"penguinmails content digest v1")

    def digest(self, raw: bytes) -> str:
        """Returns HMAC-SHA256 of a message, hexadecimal: equal for equal messages of one tenant, meaningless to others."""
        return hmac.digest(self._digest_key, raw, "sha256").hex()


def new_data_key() -> bytes:
    """Returns a random key for one message. Never use it for a second one."""
    return os.urandom(KEY_BYTES)


def message_context(form: Form, tenant_id: UUID, storage_key: str, raw_size_bytes: int) -> bytes:
    """Returns what a sealed message is bound to: it opens as this message of this tenant or not at all."""
    return _FORMATS[form] + tenant_id.bytes + struct.pack("<Q", raw_size_bytes) + storage_key.encode("ascii")


def seal(plain: bytes, key: bytes, context: bytes) -> bytes:
    """Encrypts with a key that is used for nothing else."""
    return AESGCM(key).encrypt(_NONCE, plain, context)


def unseal(sealed: bytes, key: bytes, context: bytes, *, thing: str) -> bytes:
    """Returns what was sealed.

    Raises:
        ContentDamaged: the bytes, the key or the context are not those of sealing.
    """
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, context)
    except (InvalidTag, ValueError) as error:
        raise ContentDamaged(
            thing, "was altered, or belongs to another message or tenant", "Run 'penguinmails content verify'."
        ) from error


def _derive(secret: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt or None, purpose).derive(secret)
