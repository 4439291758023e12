"""Rebuilding the index from the packs: where messages are, their sizes, and the tenants' dictionaries.

For the day after a restore: the index is as old as its backup, while compaction has moved frames since. Every pack's
directory says what it holds; a message is pointed to a frame only after its wrapped key has opened that frame. Wrapped
keys stand in the index and its backups alone (that is what makes an erasure final), so a message whose row is not in the
backup cannot be read from its pack; it is counted, and nothing is deleted.

Belongs here: that rebuilding. Does not belong here: restoring backups of PostgreSQL.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog, unseal_dictionary
from penguinmails.content_store.errors import ContentDamaged, TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.pack import Directory, Entry, read_directory, read_header
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.sealed_message import SealedMessage, open_message
from penguinmails.content_store.sealing import Form
from penguinmails.content_store.storage_layout import PACK_SUFFIX, PREFIX, storage_key
from penguinmails.stack.errors import IntegrityError, PlatformError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "repair.sql")
_DICTIONARY = re.compile(re.escape(PREFIX) + r"(?P<tenant>[0-9a-f-]{36})/dictionaries/(?P<number>\d+)\.sealed")


@dataclass
class RepairReport:
    """What was found, and mended where that was asked for."""

    packs_looked_at: int = 0
    packs_added: int = 0
    messages_found_again: int = 0
    messages_without_key: int = 0
    """In packs the index does not know, and not in the index: their keys are in a newer backup or gone."""
    dictionaries_added: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Objects that are no whole pack or dictionary; nothing was done about them."""


def repair_index(
    stores: Stores, *, clock: Callable[[], datetime], execute: bool = False, progress: Progress = no_progress
) -> RepairReport:
    """Looks at every pack and dictionary the index does not know; with `execute` adds them and points messages to them.

    Raises:
        ServerError: a store does not answer; run it again.
    """
    report = RepairReport()
    with typed_errors(), connect(stores) as connection:
        repair = _Repair(stores, connection, clock(), report, execute=execute)
        names = [entry.key for entry in repair.bucket.list(PREFIX)]
        for name in names:
            if found := _DICTIONARY.fullmatch(name):
                repair.dictionary(name, UUID(found["tenant"]), int(found["number"]))
        for name in names:
            if name.endswith(PACK_SUFFIX):
                repair.pack(name)
                progress(1)
    return report


class _Repair:
    def __init__(
        self, stores: Stores, connection: Connection, now: datetime, report: RepairReport, *, execute: bool
    ) -> None:
        self.bucket = open_bucket(stores)
        self.keys = KeyRing(key_source(stores))
        self.dictionaries = DictionaryCatalog(self.bucket, self.keys)
        self.connection = connection
        self.now = now
        self.report = report
        self.execute = execute
        self.is_there = functools.cache(lambda name: self.bucket.size_bytes(name) is not None)

    def dictionary(self, object_key: str, tenant_id: UUID, dictionary_id: int) -> None:
        """Adds a dictionary the index does not know."""
        row = self.connection.execute(_QUERIES["known_dictionary"], {"dictionary_id": dictionary_id}).fetchone()
        if row and row[0]:
            return
        sealed = self.bucket.get(object_key)
        generation = self._generation_of(tenant_id, sealed, dictionary_id)
        if generation is None:
            self.report.unreadable.append(object_key)
            return
        self.report.dictionaries_added += 1
        if not self.execute:
            return
        values = {
            "dictionary_id": dictionary_id,
            "tenant_id": tenant_id,
            "object_key": object_key,
            "size_bytes": len(sealed),
            "sha256": hashlib.sha256(sealed).digest(),
            "key_generation": generation,
            "now": self.now,
        }
        self.connection.execute(_QUERIES["add_dictionary"], values)
        self.connection.execute(_QUERIES["dictionary_ids_go_on"], values)

    def pack(self, object_key: str) -> None:
        """Adds a pack the index does not know, if it holds messages the index has lost."""
        self.report.packs_looked_at += 1
        if self.connection.execute(_QUERIES["pack_of_object"], {"object_key": object_key}).fetchone() is not None:
            return
        content = self.bucket.get(object_key)
        try:
            header = read_header(content, thing=object_key)
            key = self.keys.for_reading(self.connection, header.tenant_id, header.key_generation)
            directory = read_directory(content, key, thing=object_key)
        except (IntegrityError, TenantKeyMissing, TenantKeyWrong):
            self.report.unreadable.append(object_key)
            return
        found = self._lost_messages(directory, content)
        self.report.messages_found_again += len(found)
        if found:
            self.report.packs_added += 1
        if found and self.execute:
            self._add(object_key, content, directory, header.key_generation, found)

    def _lost_messages(self, directory: Directory, content: bytes) -> list[tuple[str, Entry, int]]:
        """Returns (storage key, entry, offset) of messages whose own place is gone and whose key opens this frame."""
        places = {
            storage_key(directory.group.tenant_id, entry.message_id): (entry, offset)
            for entry, offset in zip(directory.entries, directory.offsets(), strict=True)
        }
        rows = self.connection.execute(_QUERIES["rows_of"], {"storage_keys": list(places)}).fetchall()
        self.report.messages_without_key += len(places) - len(rows)
        found = []
        for row in rows:
            name, tenant_id, raw_size, generation, wrapped_key, content_hash, dictionary_id, form, object_key, state = (
                row
            )
            entry, offset = places[name]
            if state == "live" and self.is_there(object_key):
                continue
            sealed = content[offset : offset + entry.sealed_size_bytes]
            message = SealedMessage(name, raw_size, content_hash, wrapped_key, sealed, Form(form))
            if self._opens(message, tenant_id, generation, entry.dictionary_id or dictionary_id):
                found.append((name, entry, offset))
        return found

    def _opens(self, message: SealedMessage, tenant_id: UUID, generation: int, dictionary_id: int) -> bool:
        try:
            key = self.keys.for_reading(self.connection, tenant_id, generation)
            dictionary = self.dictionaries.for_reading(self.connection, dictionary_id)
            open_message(message, tenant_id=tenant_id, key=key, dictionary=dictionary)
        except (ContentDamaged, TenantKeyMissing, TenantKeyWrong):
            return False
        return True

    def _add(
        self,
        object_key: str,
        content: bytes,
        directory: Directory,
        key_generation: int,
        found: list[tuple[str, Entry, int]],
    ) -> None:
        sealed_bytes = sum(entry.sealed_size_bytes for entry in directory.entries)
        values: dict[str, Any] = {
            "pack_id": directory.pack_id,
            "tenant_id": directory.group.tenant_id,
            "retention_class": directory.group.retention_class,
            "ingest_month": directory.group.ingest_month,
            "object_key": object_key,
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).digest(),
            "messages": len(directory.entries),
            "dead_messages": len(directory.entries) - len(found),
            "dead_bytes": sealed_bytes - sum(entry.sealed_size_bytes for _, entry, _ in found),
            "key_generation": key_generation,
            "dictionary_id": max(entry.dictionary_id for _, entry, _ in found),
            "now": self.now,
            "storage_keys": [name for name, _, _ in found],
            "offsets": [offset for _, _, offset in found],
            "sizes": [entry.sealed_size_bytes for _, entry, _ in found],
            "dictionaries": [entry.dictionary_id for _, entry, _ in found],
        }
        with self.connection.transaction():
            self.connection.execute(_QUERIES["add_pack"], values)
            self.connection.execute(_QUERIES["point_to"], values)

    def _generation_of(self, tenant_id: UUID, sealed: bytes, dictionary_id: int) -> int | None:
        """Returns the generation of the tenant's key that opens a dictionary."""
        for (generation,) in self.connection.execute(_QUERIES["generations"], {"tenant_id": tenant_id}).fetchall():
            try:
                key = self.keys.for_reading(self.connection, tenant_id, generation)
                unseal_dictionary(sealed, key, dictionary_id)
            except PlatformError:
                continue
            return int(generation)
        return None
