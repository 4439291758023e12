"""Proofs of who a session is for: the key that signs them, where it is kept, and the seal itself.

A seal is `1.KEY_ID.EXPIRY.MAC`: the key's id, the end of its validity in seconds since 1970 (10 digits), and the HMAC-SHA-256
(RFC 2104) in hex of `penguinmails:1:TENANT:USER:EXPIRY`, where an absent tenant or user is empty. The database computes the
same from what the session has set (migrations/0017, app.seal_is_valid). A seal lets its holder be this tenant and this user
until it expires, and nobody else; a transaction that began before goes on.

The key is 32 bytes: PENGUINMAILS_CONTEXT_KEY in base64, or else the file `context.key` in the keys folder.

Belongs here: keys and seals. Does not belong here: which keys a database accepts and whether it asks (contexts.py).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.key_files import KEY_BYTES, read_key_file
from penguinmails.stack.stores import Stores

SEAL_VALIDITY = timedelta(seconds=60)
"""How long after signing a transaction may begin: what a network and two clocks need, and not more."""
KEY_SETTING = "PENGUINMAILS_CONTEXT_KEY"
_BLOCK_BYTES = 64
_ID_CHARACTERS = 16
_ID_PURPOSE = b"penguinmails:context-key-id"
_LATEST_EXPIRY_SECONDS = 9_999_999_999
"""Expiry has 10 digits, which last until 2286."""


class ContextKey:
    """A secret that signs contexts. Shows itself to nobody."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise SettingsError("key of contexts", f"is not of {KEY_BYTES} bytes", "Make one: openssl rand -base64 32")
        self._secret = secret
        self.key_id = self._mac(_ID_PURPOSE)[:_ID_CHARACTERS]
        """Tells keys apart and nothing of them."""

    def __repr__(self) -> str:
        return f"ContextKey({self.key_id})"

    def blocks(self) -> tuple[bytes, bytes]:
        """Returns the inner and the outer block of HMAC (RFC 2104), which the database keeps. As secret as the key."""
        padded = self._secret.ljust(_BLOCK_BYTES, b"\0")
        return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)

    def seal(self, tenant: str, user: str, expiry_seconds: int) -> str:
        """Returns the proof of a context.

        Args:
            tenant, user: uuids as the session sets them, empty where there is none.
            expiry_seconds: seconds since 1970 UTC.
        """
        expiry = f"{min(expiry_seconds, _LATEST_EXPIRY_SECONDS):010d}"
        mac = self._mac(f"penguinmails:1:{tenant}:{user}:{expiry}".encode())
        return f"1.{self.key_id}.{expiry}.{mac}"

    def _mac(self, message: bytes) -> str:
        return hmac.digest(self._secret, message, "sha256").hex()


@dataclass(frozen=True)
class Signer:
    """Signs the contexts of sessions at the moment they are opened.

    Args:
        key: what it signs with.
        clock: the present.
        validity: how long its seals hold.
    """

    key: ContextKey
    clock: Clock = utc_now
    validity: timedelta = SEAL_VALIDITY

    def seal(self, tenant: str, user: str) -> str:
        """Returns the proof of a context that begins now."""
        return self.key.seal(tenant, user, int((self.clock() + self.validity).timestamp()))


def signer_of(stores: Stores) -> Signer | None:
    """Returns what signs contexts on this machine; None where there is no key.

    Raises:
        SettingsError: what should be the key is none, or others can read it.
    """
    key = key_of(stores)
    return None if key is None else Signer(key)


def key_of(stores: Stores) -> ContextKey | None:
    """Returns the key of the environment, or of the keys folder, or None.

    Raises:
        SettingsError: what should be the key is none, or others can read it.
    """
    if stores.context_key is not None:
        return _decoded(stores.context_key.get_secret_value())
    secret = read_key_file(key_file(stores))
    return None if secret is None else ContextKey(secret)


def key_file(stores: Stores) -> Path:
    """Returns where the key is kept that the environment does not name."""
    return stores.keys_folder / "context.key"


def _decoded(text: str) -> ContextKey:
    try:
        secret = base64.b64decode(text.encode(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        problem = f"is not {KEY_BYTES} bytes in base64"
        raise SettingsError(KEY_SETTING, problem, "Make one: openssl rand -base64 32")
    return ContextKey(secret)
