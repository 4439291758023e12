"""Checks: do references lead to messages, do packs have their objects, are the bytes what was stored.

Belongs here: looking, counting, recording broken references. Does not belong here: mending (repair.py, sweeping.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import MessageBodies, Progress, no_progress
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.retention import plan_retention
from penguinmails.content_store.sealed_message import SealedMessage, open_message
from penguinmails.content_store.sealing import Form
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.object_store import ObjectMissing
from penguinmails.stack.stores import Stores

_PAGE = 5_000
_EXAMPLES = 10
_SAMPLED_PACKS = 20
_LOWEST_UUID = UUID(int=0)


@dataclass(frozen=True)
class CheckReport:
    """What one check saw; ids and keys only."""

    check: str
    looked_at: int
    bad: int
    examples: tuple[str, ...]
    remedy: str

    @property
    def ok(self) -> bool:
        return self.bad == 0


def check_references(stores: Stores, bodies: MessageBodies, *, progress: Progress = no_progress) -> CheckReport:
    """Looks for messages of the OLTP tier whose storage key the index does not know."""
    looked_at, bad, examples = 0, 0, list[str]()
    with typed_errors(), connect(stores) as connection:
        for page in bodies.storage_keys():
            names = [name for _, _, name in page]
            rows = connection.execute(QUERIES["known_storage_keys"], {"storage_keys": names}).fetchall()
            unknown = set(names) - {name for (name,) in rows}
            looked_at, bad = looked_at + len(page), bad + len(unknown)
            examples += sorted(unknown)[: _EXAMPLES - len(examples)]
            progress(len(page))
    return CheckReport(
        "broken references",
        looked_at,
        bad,
        tuple(examples),
        "Restore the index from its backup or run 'penguinmails content repair-index'.",
    )


def check_packs(stores: Stores, *, progress: Progress = no_progress) -> CheckReport:
    """Looks for live packs whose object is missing or has another size."""
    bucket, looked_at, bad = open_bucket(stores), 0, list[str]()
    with typed_errors(), connect(stores) as connection:
        for _, object_key, size_bytes, _ in _live_packs(connection):
            looked_at += 1
            if bucket.size_bytes(object_key) != size_bytes:
                bad.append(object_key)
            progress(1)
    return CheckReport(
        "missing objects", looked_at, len(bad), tuple(bad[:_EXAMPLES]), "Restore the objects from a copy of the bucket."
    )


def check_orphans(stores: Stores, *, clock: Callable[[], datetime]) -> CheckReport:
    """Looks for packs that nothing points to and that the sweep has left; needs no listing of the bucket."""
    with typed_errors(), connect(stores) as connection:
        rows = connection.execute(QUERIES["unfinished_packs"], {"now": clock(), "limit": _PAGE}).fetchall()
    return CheckReport(
        "orphans",
        len(rows),
        len(rows),
        tuple(object_key for _, object_key, _ in rows[:_EXAMPLES]),
        "Run 'penguinmails content hand-over' or 'sweep': both remove them.",
    )


def check_sample(stores: Stores, *, messages: int = 200, progress: Progress = no_progress) -> CheckReport:
    """Reads messages drawn at random and compares their hashes; records the broken ones."""
    with typed_errors(), connect(stores) as connection:
        rows = connection.execute(QUERIES["random_objects"], {"packs": _SAMPLED_PACKS, "messages": messages}).fetchall()
    drawn = [name for (name,) in rows]
    bad = []
    with ContentReader(stores, note_access=False) as reader:
        for name in drawn:
            try:
                reader.read(name)
            except (IntegrityError, TenantKeyMissing, TenantKeyWrong):
                bad.append(name)
            progress(1)
    return CheckReport(
        "sampled hashes",
        len(drawn),
        len(bad),
        tuple(bad[:_EXAMPLES]),
        "Run 'penguinmails content verify' to see how far it goes, then restore the packs named from a copy.",
    )


def verify_packs(
    stores: Stores,
    *,
    clock: Callable[[], datetime],
    within_days: int | None = None,
    progress: Progress = no_progress,
) -> CheckReport:
    """Reads packs whole, compares their SHA-256, and opens every message in them; one pack in memory at a time.

    Args:
        within_days: only today's share, the packs not read for the longest time: run daily, it reads every message
            within so many days. None reads every pack.
        progress: told how many packs were read.
    """
    looked_at, bad = 0, list[str]()
    with typed_errors(), connect(stores) as connection:
        verification = _Verification(stores, connection, clock)
        packs: Iterable[tuple[Any, ...]] = (
            (pack_id, name, digest) for pack_id, name, _, digest in _live_packs(connection)
        )
        if within_days is not None:
            packs = connection.execute(QUERIES["packs_to_verify"], {"days": within_days}).fetchall()
        for pack_id, object_key, digest in packs:
            looked_at += 1
            if not verification.is_whole(pack_id, object_key, digest):
                bad.append(object_key)
            progress(1)
    return CheckReport(
        "packs read whole, every message opened",
        looked_at,
        len(bad),
        tuple(bad[:_EXAMPLES]),
        "Restore the packs named from a copy of the bucket, or a lost key from its backup; other messages stay readable.",
    )


def check_expired(stores: Stores, *, clock: Callable[[], datetime], late: timedelta = timedelta(days=2)) -> CheckReport:
    """Looks for messages and attachments that are past their time, not held, and still there.

    Args:
        late: how long retention may take to come by.
    """
    plan = plan_retention(stores, clock=lambda: clock() - late)
    due = plan.messages + plan.attachments
    months = tuple(f"{item.tenant_id} {item.retention_class} {item.ingest_month:%Y-%m}" for item in plan.months)
    return CheckReport(
        "expired but present", due, due, months[:_EXAMPLES], "Run 'penguinmails content retention apply --execute'."
    )


def check_verification(stores: Stores, *, clock: Callable[[], datetime], within_days: int) -> CheckReport:
    """Looks for packs that nobody has read for longer than that."""
    with typed_errors(), connect(stores) as connection:
        since = clock() - timedelta(days=within_days)
        packs, overdue = connection.execute(QUERIES["packs_not_verified_since"], {"since": since}).fetchone() or (0, 0)
    return CheckReport(
        "packs not read in time", packs, overdue, (), "Run 'penguinmails content verify --within-days' every day."
    )


class _Verification:
    def __init__(self, stores: Stores, connection: Connection, clock: Callable[[], datetime]) -> None:
        self.bucket = open_bucket(stores)
        self.keys = KeyRing(key_source(stores))
        self.dictionaries = DictionaryCatalog(self.bucket, self.keys)
        self.connection = connection
        self.clock = clock

    def is_whole(self, pack_id: UUID, object_key: str, digest: bytes) -> bool:
        """Returns whether the pack is what was stored and every message in it opens; records those that do not."""
        try:
            content = self.bucket.get(object_key)
        except ObjectMissing:
            return False
        whole, after = hashlib.sha256(content).digest() == digest, ""
        while rows := self.connection.execute(
            QUERIES["members_of_pack"], {"pack_id": pack_id, "after": after, "limit": _PAGE}
        ).fetchall():
            for row in rows:
                whole = self._opens(content, *row) and whole
            after = rows[-1][0]
        if whole:
            self.connection.execute(QUERIES["pack_verified"], {"pack_id": pack_id, "now": self.clock()})
        return whole

    def _opens(
        self,
        content: bytes,
        name: str,
        tenant_id: UUID,
        raw_size_bytes: int,
        content_hash: str,
        wrapped_key: bytes,
        form: str,
        offset: int,
        sealed_size_bytes: int,
        dictionary_id: int,
        key_generation: int,
    ) -> bool:
        sealed = content[offset : offset + sealed_size_bytes]
        message = SealedMessage(name, raw_size_bytes, content_hash, wrapped_key, sealed, Form(form))
        try:
            key = self.keys.for_reading(self.connection, tenant_id, key_generation)
            dictionary = self.dictionaries.for_reading(self.connection, dictionary_id)
            # The attachments of one that has any are opened in their own places.
            open_message(message, tenant_id=tenant_id, key=key, dictionary=dictionary)
        except (TenantKeyMissing, TenantKeyWrong):
            return False
        except (IntegrityError, ObjectMissing) as error:
            values = {"storage_key": name, "tenant_id": tenant_id, "problem": type(error).__name__, "now": self.clock()}
            self.connection.execute(QUERIES["record_broken_reference"], values)
            return False
        return True


def _live_packs(connection: Connection) -> Iterator[tuple[UUID, str, int, bytes]]:
    after = _LOWEST_UUID
    while page := connection.execute(QUERIES["live_packs_page"], {"after": after, "limit": _PAGE}).fetchall():
        yield from page
        after = page[-1][0]
