"""Compaction: live messages move into new packs, so that dead bytes can leave the object store.

Sealed messages are copied as they are: nothing is decrypted. The order is that of a hand-over: record the new pack, build,
store, read back, then in one transaction point the messages to it and condemn the old packs; their objects are deleted
later by the sweep, when no reader can still be on the way to them. Refuses a pack whose directory names messages the index
does not know: an incomplete index must not cost mail.

Belongs here: choosing and rewriting packs. Does not belong here: deleting their objects (sweeping.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from uuid import UUID

import psycopg
import uuid_utils.compat

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.deletion import lock_tenant
from penguinmails.content_store.errors import PackLost
from penguinmails.content_store.index import QUERIES as INDEX
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.pack import (
    LEAST_BYTES,
    TARGET_BYTES,
    Directory,
    Entry,
    build_pack,
    must_be_whole,
    read_directory,
    read_header,
)
from penguinmails.content_store.pack_writer import give_up, record_pack, store_and_read_back
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.steps import AtStep, CompactionStep, no_step
from penguinmails.content_store.storage_layout import PackGroup, pack_key, storage_key
from penguinmails.stack.errors import IntegrityError, PlatformError
from penguinmails.stack.object_store import Bucket, ObjectMissing
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

DEAD_SHARE = 0.25
SIBLINGS = 10
"""Packs below the least size in one group that are worth merging."""
ERASED_AFTER = timedelta(days=7)
"""How long bytes of erased messages may stay in a pack; well within erasure.GONE_WITHIN."""
DELETE_AFTER = timedelta(hours=1)
"""How long a condemned pack stays: longer than any read that has looked up its place."""
_QUERIES = Queries(Path(__file__).parent / "compaction.sql")


@dataclass(frozen=True)
class Candidate:
    """One pack worth rewriting."""

    pack_id: UUID
    tenant_id: UUID
    retention_class: str
    ingest_month: date
    object_key: str
    size_bytes: int
    sha256: bytes
    dead_bytes: int
    live_messages: int
    reason: str

    @property
    def group(self) -> PackGroup:
        return PackGroup(self.tenant_id, self.retention_class, self.ingest_month)


@dataclass(frozen=True)
class CompactionReport:
    """What one compaction did."""

    packs_rewritten: int
    packs_written: int
    messages_moved: int
    bytes_freed: int
    refused: tuple[str, ...]
    """Packs left alone because they or the index are not whole, with the reason."""


@dataclass(frozen=True)
class _Frame:
    entry: Entry
    sealed: bytes


def plan_compaction(
    stores: Stores, *, clock: Callable[[], datetime], everything_erased: bool = False
) -> list[Candidate]:
    """Returns the packs worth rewriting; changes nothing.

    Args:
        everything_erased: packs with bytes of erased messages are due at once, not after ERASED_AFTER.
    """
    with typed_errors(), connect(stores) as connection:
        rows = connection.execute(
            _QUERIES["packs_to_compact"],
            {
                "small_bytes": LEAST_BYTES,
                "siblings": SIBLINGS,
                "dead_share": DEAD_SHARE,
                "erased_before": clock() - (timedelta() if everything_erased else ERASED_AFTER),
            },
        ).fetchall()
    return [Candidate(*row) for row in rows]


def compact(
    stores: Stores,
    *,
    clock: Callable[[], datetime],
    everything_erased: bool = False,
    most_bytes: int | None = None,
    progress: Progress = no_progress,
    at_step: AtStep = no_step,
) -> CompactionReport:
    """Rewrites the packs worth it, at most about so many bytes; run it again for the rest.

    Args:
        most_bytes: of packs read.
        progress: told how many packs were done.
        at_step: told each step that is now durable.

    Raises:
        ServerError: a store does not answer; what was moved stays moved.
    """
    chosen = list(_up_to(plan_compaction(stores, clock=clock, everything_erased=everything_erased), most_bytes))
    totals, refused = [0, 0, 0, 0], list[str]()
    with typed_errors(), connect(stores) as connection:
        work = _Compaction(connection, open_bucket(stores), KeyRing(key_source(stores)), clock, at_step)
        for group, candidates in groupby(chosen, key=lambda item: item.group):
            for batch in _batches(candidates):
                done = work.rewrite(group, batch, refused)
                totals = [total + added for total, added in zip(totals, done, strict=True)]
                progress(len(batch))
    rewritten, written, moved, freed = totals
    return CompactionReport(rewritten, written, moved, freed, tuple(refused))


class _Compaction:
    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        keys: KeyRing,
        clock: Callable[[], datetime],
        at_step: AtStep,
    ) -> None:
        self.connection = connection
        self.bucket = bucket
        self.keys = keys
        self.clock = clock
        self.at_step = at_step

    def rewrite(self, group: PackGroup, batch: Sequence[Candidate], refused: list[str]) -> tuple[int, int, int, int]:
        """Moves what is live in these packs; returns (packs rewritten, packs written, messages moved, bytes freed)."""
        frames, whole = list[_Frame](), list[Candidate]()
        for candidate in batch:
            try:
                frames += self._live_frames(candidate)
                whole.append(candidate)
            except (IntegrityError, ObjectMissing) as error:
                refused.append(str(error))
        if not whole:
            return 0, 0, 0, 0
        read_bytes = sum(candidate.size_bytes for candidate in whole)
        if not frames:
            self._condemn(group, whole)
            return len(whole), 0, 0, read_bytes
        written_bytes = self._move(group, whole, sorted(frames, key=lambda frame: frame.entry.message_id))
        return len(whole), 1, len(frames), read_bytes - written_bytes

    def _live_frames(self, candidate: Candidate) -> list[_Frame]:
        if candidate.live_messages == 0 and self._members_alive([candidate]) == 0:
            return []  # nothing to keep: its bytes need not even be read
        thing = f"pack {candidate.object_key}"
        content = self.bucket.get(candidate.object_key)
        if hashlib.sha256(content).digest() != candidate.sha256:
            raise IntegrityError(thing, "is not what was stored", "Run 'penguinmails content verify'.")
        key = self.keys.for_reading(
            self.connection, candidate.tenant_id, read_header(content, thing=thing).key_generation
        )
        directory = read_directory(content, key, thing=thing)
        names = [storage_key(candidate.tenant_id, entry.message_id) for entry in directory.entries]
        rows = self.connection.execute(_QUERIES["members"], {"storage_keys": names}).fetchall()
        known = {name: (pack_id, offset, erased) for name, pack_id, offset, erased in rows}
        unknown = len(set(names) - known.keys())
        if unknown:
            raise IntegrityError(
                thing,
                f"holds {unknown} messages that the index does not know",
                "Run 'penguinmails content repair-index'.",
            )
        return [
            _Frame(entry, content[offset : offset + entry.sealed_size_bytes])
            for name, entry, offset in zip(names, directory.entries, directory.offsets(), strict=True)
            if known[name] == (candidate.pack_id, offset, False)
        ]

    def _move(self, group: PackGroup, old: Sequence[Candidate], frames: Sequence[_Frame]) -> int:
        pack_id = uuid_utils.compat.uuid7()
        object_key = pack_key(group, pack_id)
        key = self.keys.for_writing(self.connection, group.tenant_id, now=self.clock())
        directory = Directory(group, pack_id, [frame.entry for frame in frames])
        newest_dictionary = max(frame.entry.dictionary_id for frame in frames)
        record_pack(self.connection, directory, object_key, key, newest_dictionary, now=self.clock())
        self.at_step(CompactionStep.PACK_RECORDED)
        try:
            content = build_pack(directory, [frame.sealed for frame in frames], key)
            _must_be_whole(content, directory, frames, key)
            self.at_step(CompactionStep.BUILT)
            digest = store_and_read_back(
                self.bucket, object_key, content, stored=lambda: self.at_step(CompactionStep.STORED)
            )
            self.at_step(CompactionStep.READ_BACK)
            self._commit(directory, old, digest=digest, size_bytes=len(content))
        except (PlatformError, psycopg.Error):
            give_up(self.connection, self.bucket, pack_id, object_key, now=self.clock())
            raise
        self.at_step(CompactionStep.MOVED)
        return len(content)

    def _commit(self, directory: Directory, old: Sequence[Candidate], *, digest: bytes, size_bytes: int) -> None:
        names = [storage_key(directory.group.tenant_id, entry.message_id) for entry in directory.entries]
        with self.connection.transaction():
            lock_tenant(self.connection, directory.group.tenant_id)
            live = self.connection.execute(
                INDEX["pack_goes_live"],
                {
                    "pack_id": directory.pack_id,
                    "size_bytes": size_bytes,
                    "sha256": digest,
                    "messages": len(names),
                    "now": self.clock(),
                },
            )
            if live.rowcount != 1:
                raise PackLost(f"pack {directory.pack_id}", "took longer than its lease", "Run the compaction again.")
            self.connection.execute(
                _QUERIES["move_members"],
                {
                    "pack_id": directory.pack_id,
                    "old_pack_ids": [candidate.pack_id for candidate in old],
                    "storage_keys": names,
                    "offsets": directory.offsets(),
                    "messages": len(names),
                    "sealed_bytes": sum(entry.sealed_size_bytes for entry in directory.entries),
                },
            )
            self._condemn_emptied(old)

    def _condemn(self, group: PackGroup, old: Sequence[Candidate]) -> None:
        with self.connection.transaction():
            lock_tenant(self.connection, group.tenant_id)
            self._condemn_emptied(old)

    def _condemn_emptied(self, old: Sequence[Candidate]) -> None:
        """Inside the transaction: every live message has left the old packs, and nobody else rewrote them."""
        values = {"pack_ids": [item.pack_id for item in old], "delete_after": self.clock() + DELETE_AFTER}
        condemned = self.connection.execute(_QUERIES["condemn_old_packs"], values).rowcount
        if condemned != len(old) or self._members_alive(old):
            raise PackLost("compaction", "met another one on the same packs", "Run it again.")

    def _members_alive(self, packs: Iterable[Candidate]) -> int:
        row = self.connection.execute(
            _QUERIES["live_members"], {"pack_ids": [item.pack_id for item in packs]}
        ).fetchone()
        return int(row[0]) if row else 0


def _must_be_whole(content: bytes, directory: Directory, frames: Sequence[_Frame], key: TenantKey) -> None:
    must_be_whole(content, directory, key)
    places = zip(directory.offsets(), frames, strict=True)
    if any(content[offset : offset + len(frame.sealed)] != frame.sealed for offset, frame in places):
        raise IntegrityError(f"pack {directory.pack_id}", "did not survive building", "Test this machine's memory.")


def _up_to(candidates: Iterable[Candidate], most_bytes: int | None) -> Iterator[Candidate]:
    taken = 0
    for candidate in candidates:
        if most_bytes is not None and taken and taken + candidate.size_bytes > most_bytes:
            return
        taken += candidate.size_bytes
        yield candidate


def _batches(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Yields packs that together make about one of the target size."""
    batch, live_bytes = list[Candidate](), 0
    for candidate in candidates:
        size_bytes = candidate.size_bytes - candidate.dead_bytes
        if batch and live_bytes + size_bytes > TARGET_BYTES:
            yield batch
            batch, live_bytes = [], 0
        batch.append(candidate)
        live_bytes += size_bytes
    if batch:
        yield batch
