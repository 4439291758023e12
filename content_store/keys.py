"""Where tenant keys are kept, and the ring that hands them out after checking that they are the right ones.

Three sources: a master key in `PENGUINMAILS_CONTENT_MASTER_KEY` from which every tenant's key is derived; a key
management service behind the port `tenant_keys`; otherwise one file a tenant in the keys folder (folder 0700, files
0600). The index keeps a check value of each key in use, so a lost or exchanged key is an error and never a new key.
Generations count from 1 and are never used twice, also not after they were dropped with all their tenant's mail;
generation 0 hashes the addresses a tenant must not write to, and is kept for ever.

Belongs here: finding, making and checking keys. Does not belong here: encrypting with them (sealing.py).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
from datetime import datetime
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from penguinmails.content_store.errors import TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, Connection
from penguinmails.content_store.ports import TenantKeySource
from penguinmails.content_store.sealing import KEY_BYTES, TenantKey
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.key_files import sync_folder, write_once
from penguinmails.stack.ports import contributions
from penguinmails.stack.stores import Stores

SUPPRESSION_GENERATION = 0


class KeyFolder:
    """One file a tenant and generation, made once and never overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return f"files in {self.folder}"

    def secret(self, tenant_id: UUID, generation: int) -> bytes | None:
        """Returns the key in the tenant's file, None when there is no file.

        Raises:
            TenantKeyWrong: the file does not hold a key.
            SettingsError: others can read the file, or we cannot.
        """
        path = self._path(tenant_id, generation)
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise SettingsError(f"key file {path}", "can be read by others", f"chmod 600 {path}")
                return _decode(file.read(), thing=f"key file {path}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"key file {path}", f"cannot be read ({error.strerror})", "Mend its rights.") from error

    def create(self, tenant_id: UUID, generation: int) -> bytes:
        """Makes the file unless it is there; it appears whole, and is on disk before anything is encrypted with it.

        Raises:
            SettingsError: it cannot be made (a full disk, a folder without rights).
        """
        path = self._path(tenant_id, generation)
        try:
            self._make_file(path)
        except OSError as error:
            raise SettingsError(
                f"key file {path}", f"cannot be made ({error.strerror})", "Make room or mend the folder's rights."
            ) from error
        secret = self.secret(tenant_id, generation)
        if secret is None:
            raise TenantKeyMissing(f"key file {path}", "vanished while it was made", "Run again.")
        return secret

    def _make_file(self, path: Path) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        write_once(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")

    def destroy(self, tenant_id: UUID, generation: int) -> bool:
        """Removes the file. What a file system keeps of removed files, and every backup of the folder, is beyond it."""
        if self.folder.exists():
            self._path(tenant_id, generation).unlink(missing_ok=True)
            sync_folder(self.folder)
        return True

    def _path(self, tenant_id: UUID, generation: int) -> Path:
        return self.folder / f"{tenant_id}.{generation}.key"


class MasterKey:
    """Tenant keys derived from one secret; whoever has it has them all, and no tenant's key can be dropped alone."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def __str__(self) -> str:
        return "derived from the master key"

    def secret(self, tenant_id: UUID, generation: int) -> bytes | None:
        purpose = b"penguinmails tenant key v1 %d" % generation
        return HKDF(SHA256(), KEY_BYTES, tenant_id.bytes, purpose).derive(self._master)

    def create(self, tenant_id: UUID, generation: int) -> bytes:
        secret = self.secret(tenant_id, generation)
        assert secret is not None  # noqa: S101 - derived, so always there
        return secret

    def destroy(self, tenant_id: UUID, generation: int) -> bool:  # noqa: ARG002 - as every source
        """Returns False: whoever has the master key can derive it again."""
        return False


def key_source(stores: Stores) -> TenantKeySource:
    """Returns where keys are kept: a registered key management service, the environment, or the keys folder."""
    service = contributions("penguinmails.ports").get("tenant_keys")
    if service is not None:
        source: TenantKeySource = service.load()(stores)
        return source
    master = stores.content_master_key
    if master is not None:
        return MasterKey(_decode(master.get_secret_value().encode(), thing="PENGUINMAILS_CONTENT_MASTER_KEY"))
    return KeyFolder(stores.keys_folder)


class KeyRing:
    """Tenant keys, each checked against the index once and then kept in memory. Safe to share between threads."""

    def __init__(self, source: TenantKeySource) -> None:
        self._source = source
        self._keys: dict[tuple[UUID, int], TenantKey] = {}
        self._newest: dict[UUID, int] = {}

    def for_writing(self, connection: Connection, tenant_id: UUID, *, now: datetime) -> TenantKey:
        """Returns the tenant's newest key, making the first one for a new tenant.

        Raises:
            TenantKeyMissing: the index knows a key of this tenant that the source does not have.
            TenantKeyWrong: the source's key is not the one in use.
        """
        generation = self._newest.get(tenant_id) or self._newest_generation(connection, tenant_id, now)
        self._newest[tenant_id] = generation
        return self.for_reading(connection, tenant_id, generation)

    def for_reading(self, connection: Connection, tenant_id: UUID, generation: int) -> TenantKey:
        """Returns the key of one generation.

        Raises:
            TenantKeyMissing: the source does not have it.
            TenantKeyWrong: the source has another one.
        """
        known = self._keys.get((tenant_id, generation))
        if known is None:
            known = self._checked(connection, tenant_id, generation)
            self._keys[tenant_id, generation] = known
        return known

    def next_generation(self, connection: Connection, newest: TenantKey, *, now: datetime) -> TenantKey:
        """Makes the generation after the newest one, durable where keys are kept and known to the index."""
        generation = newest.generation + 1
        made = TenantKey(newest.tenant_id, generation, self._source.create(newest.tenant_id, generation))
        self._record(connection, made, now)
        self._newest[newest.tenant_id] = generation
        return self.for_reading(connection, newest.tenant_id, generation)

    def for_suppression(self, connection: Connection, tenant_id: UUID, *, now: datetime | None) -> TenantKey | None:
        """Returns the key that hashes suppressed addresses; with a time, makes the first one where there is none yet."""
        values = {"tenant_id": tenant_id, "generation": SUPPRESSION_GENERATION}
        if connection.execute(QUERIES["key_check_value"], values).fetchone() is None:
            if now is None:
                return None
            secret = self._source.create(tenant_id, SUPPRESSION_GENERATION)
            self._record(connection, TenantKey(tenant_id, SUPPRESSION_GENERATION, secret), now)
        return self.for_reading(connection, tenant_id, SUPPRESSION_GENERATION)

    def destroy(self, tenant_id: UUID, generation: int) -> bool:
        """Destroys a key that was dropped; returns False where the source cannot destroy one alone."""
        self._keys.pop((tenant_id, generation), None)
        self._newest.pop(tenant_id, None)
        return self._source.destroy(tenant_id, generation)

    def _newest_generation(self, connection: Connection, tenant_id: UUID, now: datetime) -> int:
        row = connection.execute(QUERIES["newest_key_generation"], {"tenant_id": tenant_id}).fetchone()
        in_use, ever_used = row or (None, None)
        if in_use is not None:
            return int(in_use)
        generation = (ever_used or 0) + 1
        made = TenantKey(tenant_id, generation, self._source.create(tenant_id, generation))
        self._record(connection, made, now)
        return generation

    def _record(self, connection: Connection, key: TenantKey, now: datetime) -> None:
        connection.execute(
            QUERIES["record_key"],
            {"tenant_id": key.tenant_id, "generation": key.generation, "check_value": key.check_value, "now": now},
        )

    def _checked(self, connection: Connection, tenant_id: UUID, generation: int) -> TenantKey:
        thing = f"key generation {generation} of tenant {tenant_id}"
        values = {"tenant_id": tenant_id, "generation": generation}
        row = connection.execute(QUERIES["key_check_value"], values).fetchone()
        check_value, first_generation, dropped = row or (None, None, False)
        if dropped:
            raise TenantKeyMissing(thing, "was dropped when all the tenant's mail was erased", "That is final.")
        secret = self._source.secret(tenant_id, generation)
        if secret is None:
            raise TenantKeyMissing(
                thing, f"is not there ({self._source})", "Put it back from its backup, then run again."
            )
        later = generation != SUPPRESSION_GENERATION and first_generation not in (None, generation)
        first = self.for_reading(connection, tenant_id, first_generation) if later else None
        key = TenantKey(tenant_id, generation, secret, first.secret if first else None)
        if check_value is None or not hmac.compare_digest(check_value, key.check_value):
            raise TenantKeyWrong(
                thing,
                f"is not the one its messages were encrypted with ({self._source})",
                "Put the right key back from its backup; nothing was changed.",
            )
        return key


def _decode(text: bytes, *, thing: str) -> bytes:
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise TenantKeyWrong(thing, "does not hold 32 bytes in base64", "Put the right key back from its backup.")
    return secret
