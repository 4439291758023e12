"""Hand-over: messages move from the OLTP tier into packs.

Claim messages of one tenant, write packs (pack_writer.py), tell the OLTP tier, and after a grace period remove the bodies
there. Every step may be the last one before the process dies; the next run continues from what is durable. Any number of
hand-overs may run at once: they claim different messages, and the index takes each message once.

Belongs here: the loop and its report. Does not belong here: one pack's steps, reading, retention.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import AttachmentLost, ContentDamaged, TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.pack_writer import PackToWrite, PackWritten, write_pack
from penguinmails.content_store.ports import DEFAULT_GRACE, BodyToStore, MessageBodies, Progress, no_progress
from penguinmails.content_store.retention_classes import RETENTION_CLASSES, retention_class
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.steps import AtStep, HandOverStep, no_step
from penguinmails.content_store.storage_layout import PackGroup, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

CLAIM_MESSAGES = 20_000
CLAIM_BYTES = 32 << 20
"""Raw bytes a worker holds at a time; compressed they make a pack of 2 to 11 MiB."""
WORKERS = 2
_REMOVE_BATCH = 5_000
_PACK_ATTEMPTS = 3


@dataclass(frozen=True)
class HandOverReport:
    """What one hand-over did."""

    messages: int
    already_there: int
    """Messages that an earlier, interrupted hand-over had stored; only the OLTP tier did not know yet."""
    refused: int
    """Messages of tenants whose key is lost or wrong; they stay where they are."""
    raw_bytes: int
    stored_bytes: int
    packs: int
    puts: int
    packs_given_up: int
    """Packs that a dead hand-over had left unfinished."""
    removed_from_oltp: int
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Raw bytes for each byte stored, directory and encryption included."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else None


@dataclass
class _Tally:
    """What the workers add up; under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    messages: int = 0
    already_there: int = 0
    refused: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    packs: int = 0
    problems: dict[str, None] = field(default_factory=dict)


def hand_over(
    stores: Stores,
    bodies: MessageBodies,
    *,
    clock: Callable[[], datetime],
    day: date | None = None,
    grace: timedelta = DEFAULT_GRACE,
    progress: Progress = no_progress,
    workers: int = WORKERS,
    at_step: AtStep = no_step,
) -> HandOverReport:
    """Stores every message that waits, then removes bodies whose grace is over.

    Args:
        bodies: where messages wait; called by one thread at a time.
        clock: the time now, UTC.
        day: only messages taken in on this UTC day.
        grace: how long a body stays in the OLTP tier after it was stored and read back.
        progress: told how many messages were just stored.
        workers: threads, each with up to CLAIM_BYTES of messages in memory.
        at_step: told each step that is now durable.

    Raises:
        ServerError: a store does not answer; what was stored stays stored, run again for the rest.
    """
    started = time.monotonic()
    swept = sweep(stores, clock=clock)
    run = _Run(stores, bodies, day, clock, progress, at_step)
    with ThreadPoolExecutor(workers, thread_name_prefix="hand-over") as pool:
        tasks = [pool.submit(run.work) for _ in range(workers)]
    run.release()
    for task in tasks:
        task.result()
    removed = _remove(bodies, clock() - grace, at_step)
    tally = run.tally
    return HandOverReport(
        messages=tally.messages,
        already_there=tally.already_there,
        refused=tally.refused,
        raw_bytes=tally.raw_bytes,
        stored_bytes=tally.stored_bytes,
        packs=tally.packs,
        puts=tally.packs,
        packs_given_up=swept.packs_given_up,
        removed_from_oltp=removed,
        seconds=time.monotonic() - started,
        problems=tuple(tally.problems),
    )


class _Run:
    """One hand-over: what its workers share."""

    def __init__(
        self,
        stores: Stores,
        bodies: MessageBodies,
        day: date | None,
        clock: Callable[[], datetime],
        progress: Progress,
        at_step: AtStep,
    ) -> None:
        self.stores = stores
        self.bodies = bodies
        self.day = day
        self.clock = clock
        self.progress = progress
        self.at_step = at_step
        self.owner = uuid.uuid4()
        self.bucket: Bucket = open_bucket(stores)
        self.keys = KeyRing(key_source(stores))
        self.dictionaries = DictionaryCatalog(self.bucket, self.keys)
        self.tally = _Tally()
        self._one_caller = threading.Lock()
        self._failed = threading.Event()

    def work(self) -> None:
        """Claims and stores until nothing waits, or until another worker has failed."""
        try:
            with typed_errors(), connect(self.stores) as connection:
                while not self._failed.is_set() and (claimed := self._claim()):
                    self.at_step(HandOverStep.CLAIMED)
                    self._store(connection, claimed)
        except BaseException:
            self._failed.set()
            raise

    def release(self) -> None:
        """Gives back what was claimed and not stored (refused tenants, or everything after a failure)."""
        with self._one_caller:
            self.bodies.release(self.owner)

    def _claim(self) -> Sequence[BodyToStore]:
        with self._one_caller:
            return self.bodies.claim(self.owner, max_messages=CLAIM_MESSAGES, max_bytes=CLAIM_BYTES, day=self.day)

    def _store(self, connection: Connection, claimed: Sequence[BodyToStore]) -> None:
        tenant_id = claimed[0].tenant_id
        try:
            key = self.keys.for_writing(connection, tenant_id, now=self.clock())
        except (TenantKeyMissing, TenantKeyWrong) as error:
            # They stay claimed until the end of this run, so that the other tenants' messages come next.
            self._count(refused=len(claimed), problem=str(error))
            return
        there = self._already_there(connection, claimed, key)
        new = [body for body in claimed if body.message_id not in there]
        dictionary = self.dictionaries.for_writing(connection, key, new, now=self.clock(), at_step=self.at_step)
        for group, members in _grouped(new):
            pack = PackToWrite(
                group,
                RETENTION_CLASSES[group.retention_class].keep_days,
                key,
                dictionary,
                members,
            )
            written = self._write(connection, pack)
            self._mark(members)
            self._count(
                messages=written.messages, raw_bytes=written.raw_bytes, stored_bytes=written.pack_bytes, packs=1
            )
        known = [body for body in claimed if body.message_id in there]
        if known:
            self._mark(known)
            self._count(already_there=len(known))

    def _write(self, connection: Connection, pack: PackToWrite) -> PackWritten:
        for attempts_left in reversed(range(_PACK_ATTEMPTS)):
            try:
                return write_pack(connection, self.bucket, pack, clock=self.clock, at_step=self.at_step)
            except AttachmentLost:  # erased between looking for it and committing: now the pack brings its own
                if not attempts_left:
                    raise
        raise AssertionError("unreachable")

    def _already_there(self, connection: Connection, claimed: Sequence[BodyToStore], key: TenantKey) -> set[uuid.UUID]:
        """Returns the ids of messages that the index has: stored before a crash, or erased while they waited."""
        by_key = {storage_key(body.tenant_id, body.message_id): body for body in claimed}
        rows = connection.execute(QUERIES["objects_already_there"], {"storage_keys": list(by_key)}).fetchall()
        for name, content_hash, erased in rows:
            if not erased and content_hash is not None and key.digest(by_key[name].raw_message) != content_hash:
                raise ContentDamaged(
                    f"message {name}",
                    "is stored already with other content",
                    "Find out who changed the body in the hand-over area; nothing was overwritten.",
                )
        return {by_key[name].message_id for name, _, _ in rows}

    def _mark(self, stored: Sequence[BodyToStore]) -> None:
        with self._one_caller:
            self.bodies.mark_stored(
                [(body.tenant_id, body.message_id, storage_key(body.tenant_id, body.message_id)) for body in stored]
            )
        self.at_step(HandOverStep.MARKED)
        self.progress(len(stored))

    def _count(self, *, problem: str | None = None, **added: int) -> None:
        with self.tally.lock:
            for name, number in added.items():
                setattr(self.tally, name, getattr(self.tally, name) + number)
            if problem:
                self.tally.problems[problem] = None


def _grouped(bodies: Sequence[BodyToStore]) -> Iterator[tuple[PackGroup, list[BodyToStore]]]:
    """Yields the messages of each pack: one retention class and month of intake, in order of message id."""
    groups: dict[tuple[str, str, int, int], list[BodyToStore]] = defaultdict(list)
    for body in bodies:
        groups[body.direction, body.message_type, body.created.year, body.created.month].append(body)
    merged: dict[PackGroup, list[BodyToStore]] = defaultdict(list)
    for (direction, message_type, year, month), members in groups.items():
        name = retention_class(direction, message_type).name
        merged[PackGroup(members[0].tenant_id, name, date(year, month, 1))] += members
    for group, members in merged.items():
        yield group, sorted(members, key=lambda body: body.message_id.int)


def _remove(bodies: MessageBodies, stored_before: datetime, at_step: AtStep) -> int:
    removed = 0
    while batch := bodies.remove_stored(stored_before, limit=_REMOVE_BATCH):
        removed += batch
        at_step(HandOverStep.REMOVED)
    return removed
