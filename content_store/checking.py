"""Checks: do references lead to messages, do packs have their objects, are the bytes what was stored.

Belongs here: looking, counting, recording broken references. Does not belong here: mending (repair.py, sweeping.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.errors import TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.ports import MessageBodies, Progress, no_progress
from penguinmails.content_store.reading import ContentReader
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.object_store import Bucket, ObjectMissing
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
    after: UUID | None = None
    with typed_errors(), connect(stores) as connection:
        while page := bodies.storage_keys(after=after, limit=_PAGE):
            names = [name for _, _, name in page]
            rows = connection.execute(QUERIES["known_storage_keys"], {"storage_keys": names}).fetchall()
            unknown = set(names) - {name for (name,) in rows}
            looked_at, bad = looked_at + len(page), bad + len(unknown)
            examples += sorted(unknown)[: _EXAMPLES - len(examples)]
            after = page[-1][1]
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
    with ContentReader(stores) as reader:
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


def verify_packs(stores: Stores, *, clock: Callable[[], datetime], progress: Progress = no_progress) -> CheckReport:
    """Reads every live pack whole and compares its SHA-256; one pack in memory at a time."""
    bucket, looked_at, bad = open_bucket(stores), 0, list[str]()
    with typed_errors(), connect(stores) as connection:
        for pack_id, object_key, _, digest in _live_packs(connection):
            looked_at += 1
            if _is_whole(bucket, object_key, digest):
                connection.execute(QUERIES["pack_verified"], {"pack_id": pack_id, "now": clock()})
            else:
                bad.append(object_key)
            progress(1)
    return CheckReport(
        "packs read whole",
        looked_at,
        len(bad),
        tuple(bad[:_EXAMPLES]),
        "Restore the packs named from a copy of the bucket; other messages stay readable.",
    )


def _is_whole(bucket: Bucket, object_key: str, digest: bytes) -> bool:
    try:
        return hashlib.sha256(bucket.get(object_key)).digest() == digest
    except ObjectMissing:
        return False


def _live_packs(connection: Connection) -> Iterator[tuple[UUID, str, int, bytes]]:
    after = _LOWEST_UUID
    while page := connection.execute(QUERIES["live_packs_page"], {"after": after, "limit": _PAGE}).fetchall():
        yield from page
        after = page[-1][0]
