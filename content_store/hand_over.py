"""Hand-over: messages move from the OLTP tier into packs.

Claim messages of one tenant, write packs (pack_writer.py), tell the OLTP tier, and after a grace period remove the bodies
there. Every step may be the last one before the process dies; the next run continues from what is durable. Any number of
hand-overs may run at once: they claim different messages, and the index takes each message once.

Threads claim, store and commit; what costs most, sealing, is done by processes of their own (sealing_processes.py), so that
a backlog uses every core. While one thread's messages are sealed the other waits for PostgreSQL or the object store.

Belongs here: the loop and its report. Does not belong here: one pack's steps, reading, retention.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import (
    AttachmentLost,
    ContentDamaged,
    HandOverStopped,
    SealingProcessEnded,
    TenantKeyMissing,
    TenantKeyWrong,
)
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.pack_writer import NamedBody, PackToWrite, PackWritten, write_pack
from penguinmails.content_store.ports import DEFAULT_GRACE, BodyToStore, MessageBodies, Progress, no_progress
from penguinmails.content_store.rare_collections import rare_collections
from penguinmails.content_store.retention_classes import RETENTION_CLASSES, retention_class
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.sealing_processes import SealingProcesses
from penguinmails.content_store.steps import AtStep, HandOverStep, no_step
from penguinmails.content_store.storage_layout import PackGroup, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

CLAIM_MESSAGES = 20_000
CLAIM_BYTES = 32 << 20
"""Raw bytes a worker holds at a time; compressed they make a pack of 2 to 11 MiB."""
WORKERS = 2
"""Threads that claim and store, and as many processes that seal."""
_REMOVE_BATCH = 5_000
_HEARS_SIGNALS_SECONDS = 0.5
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
        bodies: where messages wait; called by several threads at once.
        clock: the time now, UTC.
        day: only messages taken in on this UTC day.
        grace: how long a body stays in the OLTP tier after it was stored and read back.
        progress: told how many messages were just stored.
        workers: threads, each with up to CLAIM_BYTES of messages in memory, and processes that seal for them; with one,
            everything is done in this process.
        at_step: told each step that is now durable.

    Raises:
        ServerError: a store does not answer; what was stored stays stored, run again for the rest.
    """
    started = time.monotonic()
    swept = sweep(stores, clock=clock)
    run = _Run(stores, bodies, day, clock, progress, at_step, workers)
    with rare_collections():
        run.work_in_threads()
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
        workers: int,
    ) -> None:
        self.workers = workers
        self.processes = SealingProcesses(workers)
        self.stores = stores
        self.bodies = bodies
        self.day = day
        self.clock = clock
        self.progress = progress
        self.at_step = at_step
        self._claims: set[uuid.UUID] = set()
        self.bucket: Bucket = open_bucket(stores)
        self.keys = KeyRing(key_source(stores))
        self.dictionaries = DictionaryCatalog(self.bucket, self.keys, train=self.processes.train)
        self.tally = _Tally()
        self._one_is_huge = threading.Lock()
        self._stopped = threading.Event()

    def work_in_threads(self) -> None:
        """Works until nothing waits; gives back what was claimed and not stored (refused tenants, or after a failure).

        When a thread fails, or this one is interrupted (Ctrl-C, an ended Dagster run), the others stop within moments.
        """
        try:
            with ThreadPoolExecutor(self.workers, thread_name_prefix="hand-over") as pool:
                tasks = [pool.submit(self._work) for _ in range(self.workers)]
                try:
                    _wait(tasks)
                finally:
                    self._stopped.set()
                    self.processes.stop()
        finally:
            for owner in list(self._claims):
                self._release(owner)
        failures = [failure for task in tasks if (failure := task.exception())]
        # What stopped the others comes before what they said of being stopped.
        for failure in sorted(failures, key=_comes_of_stopping):
            raise failure

    def _work(self) -> None:
        with typed_errors(), connect(self.stores) as connection:
            while not self._stopped.is_set() and self._claim_and_store(connection):
                pass

    def _claim_and_store(self, connection: Connection) -> bool:
        """Hands over one claim; returns whether there was any.

        Messages too big to have two of them in memory are claimed by one thread at a time.
        """
        owner = uuid.uuid4()
        stored = False
        with self._one_is_huge:
            claimed = self._claim(owner)
            huge = sum(len(body.raw_message) for body in claimed) > CLAIM_BYTES
            if huge:
                stored = self._store(connection, claimed)
        if claimed and not huge:
            stored = self._store(connection, claimed)
        if stored:
            self._release(owner)
        return bool(claimed)

    def _claim(self, owner: uuid.UUID) -> Sequence[BodyToStore]:
        self._claims.add(owner)
        claimed = self.bodies.claim(owner, max_messages=CLAIM_MESSAGES, max_bytes=CLAIM_BYTES, day=self.day)
        if claimed:
            self.at_step(HandOverStep.CLAIMED)
        return claimed

    def _release(self, owner: uuid.UUID) -> None:
        self.bodies.release(owner)
        self._claims.discard(owner)

    def _store(self, connection: Connection, claimed: Sequence[BodyToStore]) -> bool:
        """Stores one claim; returns False for a tenant without its key: then everything stays where it is."""
        tenant_id = claimed[0].tenant_id
        try:
            key = self.keys.for_writing(connection, tenant_id, now=self.clock())
        except (TenantKeyMissing, TenantKeyWrong) as error:
            # They stay claimed until the end of this run, so that the other tenants' messages come next.
            self._count(refused=len(claimed), problem=str(error))
            return False
        members = sorted(NamedBody(storage_key(tenant_id, body.message_id), body) for body in claimed)
        there = self._already_there(connection, members, key)
        new = [member for member in members if member.storage_key not in there] if there else members
        dictionary = self.dictionaries.for_writing(
            connection, key, [body for _, body in new], now=self.clock(), at_step=self.at_step
        )
        for group, of_group in _grouped(new):
            keep_days = RETENTION_CLASSES[group.retention_class].keep_days
            written = self._write(connection, PackToWrite(group, keep_days, key, dictionary, of_group))
            self._mark(of_group)
            self._count(
                messages=written.messages, raw_bytes=written.raw_bytes, stored_bytes=written.pack_bytes, packs=1
            )
        if there:
            self._mark([member for member in members if member.storage_key in there])
            self._count(already_there=len(there))
        return True

    def _write(self, connection: Connection, pack: PackToWrite) -> PackWritten:
        for attempts_left in reversed(range(_PACK_ATTEMPTS)):
            try:
                return write_pack(
                    connection,
                    self.bucket,
                    pack,
                    processes=self.processes,
                    clock=self.clock,
                    at_step=self.at_step,
                )
            except AttachmentLost:  # erased between looking for it and committing: now the pack brings its own
                if not attempts_left:
                    raise
        raise AssertionError("unreachable")

    def _already_there(self, connection: Connection, members: Sequence[NamedBody], key: TenantKey) -> set[str]:
        """Returns storage keys that the index has: of messages stored before a crash, or erased while they waited."""
        # As one text: psycopg looks at each element of a list, and no storage key needs to be quoted.
        names = "{" + ",".join([member.storage_key for member in members]) + "}"
        rows = connection.execute(QUERIES["objects_already_there"], {"storage_keys": names}).fetchall()
        bodies = dict(members) if rows else {}
        for name, content_hash, erased in rows:
            if not erased and content_hash is not None and key.digest(bodies[name].raw_message) != content_hash:
                raise ContentDamaged(
                    f"message {name}",
                    "is stored already with other content",
                    "Find out who changed the body in the hand-over area; nothing was overwritten.",
                )
        return {name for name, _, _ in rows}

    def _mark(self, stored: Sequence[NamedBody]) -> None:
        self.bodies.mark_stored([(body.tenant_id, body.message_id, name) for name, body in stored])
        self.at_step(HandOverStep.MARKED)
        self.progress(len(stored))

    def _count(self, *, problem: str | None = None, **added: int) -> None:
        with self.tally.lock:
            for name, number in added.items():
                setattr(self.tally, name, getattr(self.tally, name) + number)
            if problem:
                self.tally.problems[problem] = None


def _wait(tasks: Sequence[Future[None]]) -> None:
    """Waits until all are done or one has failed.

    Not in one go: a signal that comes just before Python begins to wait is heard only when the waiting ends.
    """
    going_on = set(tasks)
    while going_on:
        done, going_on = wait(going_on, timeout=_HEARS_SIGNALS_SECONDS, return_when=FIRST_EXCEPTION)
        if any(task.exception() for task in done):
            return


def _comes_of_stopping(failure: BaseException) -> int:
    """0 for what cannot come of it, 1 for what may, 2 for what does."""
    return isinstance(failure, SealingProcessEnded) + isinstance(failure, HandOverStopped)


def _grouped(members: Sequence[NamedBody]) -> Iterator[tuple[PackGroup, list[NamedBody]]]:
    """Yields the messages of each pack: one retention class and month of intake, in the order given."""
    groups: dict[tuple[str, int, int], list[NamedBody]] = defaultdict(list)
    for member in members:
        body = member.body
        groups[_class_name(body.direction, body.message_type), body.created.year, body.created.month].append(member)
    for (name, year, month), of_group in groups.items():
        yield PackGroup(of_group[0].body.tenant_id, name, date(year, month, 1)), of_group


@functools.lru_cache(maxsize=64)
def _class_name(direction: str, message_type: str) -> str:
    return retention_class(direction, message_type).name


def _remove(bodies: MessageBodies, stored_before: datetime, at_step: AtStep) -> int:
    removed = 0
    while batch := bodies.remove_stored(stored_before, limit=_REMOVE_BATCH):
        removed += batch
        at_step(HandOverStep.REMOVED)
    return removed
