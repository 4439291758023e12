"""The worker: reserves, starts, runs and settles jobs.

Reserve (Redis) is a hint, start (PostgreSQL, compare-and-set) is ownership, and only what is still owned can be finished.
Without Redis the worker takes jobs straight from PostgreSQL by the same rules.

Belongs here: that cycle and stopping in good order. Does not belong here: where handlers run (executors.py), the
statements (sql/protocol.sql), other processes' remains (reaper.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from penguinmails.queue.configuration import DEFAULTS, Configuration
from penguinmails.queue.connections import Connection, open_protocol_connection
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.execution import Outcome
from penguinmails.queue.executors import Executor
from penguinmails.queue.fast_lane import FastLane, Ticket, read_ticket
from penguinmails.queue.handlers import PROTOCOL, StartedJob
from penguinmails.queue.leases import Lease
from penguinmails.queue.outages import Outage
from penguinmails.queue.queues import Band
from penguinmails.queue.relay import claim
from penguinmails.queue.settlement import Settled, note_progress, release, settle, still_owned
from penguinmails.queue.wake_ups import HandOffs
from penguinmails.stack.errors import ServerError
from penguinmails.stack.stores import Stores

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.025
_WITHOUT_REDIS_SECONDS = 1.0
"""How long jobs go around Redis before it is tried again."""
_NOTE_SECONDS = 0.1
"""What has run for less than this is not noted as running in Redis, only its end."""
_RECONNECT_SECONDS = 0.5
_RUNS_SECONDS = 1.0
"""Pause between two looks whether jobs in hand were cancelled or taken away, and how far they are."""


@dataclass
class WorkerCounts:
    """What this worker has done since it was made."""

    started: int = 0
    started_without_redis: int = 0
    completed: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    stale: int = 0
    foreign: int = 0
    fenced: int = 0
    leases_lost: int = 0


class Worker:
    """One worker. `step` does one turn; `run` turns until told to stop; `close` gives back what is in hand.

    Args:
        queue_names: the queues to serve, those named first before others of the same band.
        executor: where handlers run; closed with the worker.
        on_operation: is told how many seconds an operation took ("receive" or "ack").
    """

    def __init__(
        self,
        stores: Stores,
        queue_names: Sequence[str],
        executor: Executor,
        *,
        configuration: Configuration = DEFAULTS,
        random: Random | None = None,
        on_operation: Callable[[str, float], None] = lambda _, __: None,
    ) -> None:
        self.counts = WorkerCounts()
        self._stores = stores
        self._queue_names = list(queue_names)
        self._executor = executor
        self._configuration = configuration
        self._random = random or Random()  # noqa: S311 - jitter, no secret
        self._fast_lane = FastLane.open(stores)
        self._on_operation = on_operation
        self._redis_again_at = 0.0
        self._redis_outage = Outage("worker", "Redis")
        self._connection: Connection | None = None
        self._lease: Lease | None = None
        self._outcomes: list[Outcome] = []
        self._outcomes_since = 0.0
        self._runs_at = 0.0
        self._asked_at: dict[UUID, float] = {}
        self._may_hold_reserved = False
        self._started_lately: set[UUID] = set()
        self._to_be_noted: set[UUID] = set()
        self._noted_at = 0.0

    def run(self, stop: Callable[[], bool]) -> None:
        """Works until `stop` says so, then ends what runs within the time allowed and gives back the rest."""
        self.require_safe_redis()
        hand_offs = HandOffs(FastLane.open(self._stores).client, self._queue_names, self._configuration)
        outage = Outage("worker", "PostgreSQL")
        try:
            while not stop():
                try:
                    moved = self.step()
                    outage.ended()
                except (psycopg.OperationalError, ServerError) as error:
                    outage.began(error)
                    self.reconnect()
                    time.sleep(_RECONNECT_SECONDS)
                    continue
                hand_offs.after_turn(self._executor, moved=moved, is_gathering=bool(self._outcomes))
        finally:
            hand_offs.close()
            self.close()

    def require_safe_redis(self) -> None:
        """Makes sure that Redis, if it is there, keeps what it is given.

        Raises:
            FastLaneUnsafe: it evicts or forgets; nothing was started.
        """
        try:
            self._fast_lane.require_safe()
        except FastLaneUnavailable as error:
            self._avoid_redis(error)

    @property
    def is_idle(self) -> bool:
        """True when no job is in hand and no outcome waits to be settled."""
        return not self._executor.in_hand() and not self._outcomes

    def step(self) -> int:
        """One turn: settles what came out, takes new jobs; returns how many jobs moved.

        Raises:
            ServerError, psycopg.OperationalError: PostgreSQL is away; nothing is lost, try again later.
        """
        if self._lease is not None and not self._lease.is_trusted():
            self._forget_everything()
        connection = self._ready_connection()
        self._collect(0.0 if self._executor.room() > 0 else self._configuration.poll_seconds)
        settled = self._flush(connection)
        self._note_running()
        self._look_after_runs(connection)
        started = self._take(connection)
        return settled + started

    def close(self, *, wait_seconds: float | None = None) -> None:
        """Stops in good order: waits for running handlers, settles, gives back the rest, signs off."""
        deadline = time.monotonic() + (self._configuration.stop_seconds if wait_seconds is None else wait_seconds)
        try:
            if self._lease is not None and self._lease.is_trusted():
                self._wind_up(deadline)
        except (psycopg.OperationalError, ServerError):
            self._executor.abandon()  # PostgreSQL is away: the reaper finds what we leave
        finally:
            self._executor.close()
            if self._lease is not None:
                self._lease.close()
                self._lease = None
            self.reconnect()
            self._fast_lane.close()

    def reconnect(self) -> None:
        """Drops the connection: the next turn opens another and takes up what had been started unknown to us."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _wind_up(self, deadline: float) -> None:
        connection = self._ready_connection()
        while self._executor.in_hand() and time.monotonic() < deadline and self._is_trusted():
            self._collect(self._configuration.poll_seconds)
            self._flush(connection, now=True)
        left = self._executor.abandon()
        self._flush(connection, now=True)
        if self._lease is not None:
            self.counts.released += len(release(connection, self._lease.id, left))

    def _is_trusted(self) -> bool:
        return self._lease is not None and self._lease.is_trusted()

    def _ready_connection(self) -> Connection:
        """Returns a connection under a live lease; after a loss of either adopts what had been started unknown to us."""
        if self._lease is None:
            self._lease = Lease(
                self._stores.queue_url,
                "worker",
                self._configuration,
                slots=self._executor.slots,
                queue_names=self._queue_names,
                on_renewal=self._executor.trust,
                busy=lambda: min(self._executor.slots, len(self._executor.in_hand())),
            )
        if self._connection is None:
            connection = open_protocol_connection(self._stores.queue_url)
            self._connection = connection
            in_hand = [job.id for job in self._executor.in_hand()] + [each.job.id for each in self._outcomes]
            self._submit(self._started_rows(connection, PROTOCOL["adopt"], {"in_hand": in_hand}))
        return self._connection

    def _collect(self, seconds: float) -> None:
        outcomes = self._executor.collect(seconds)
        if outcomes and not self._outcomes:
            self._outcomes_since = time.monotonic()
        self._outcomes += outcomes

    def _flush(self, connection: Connection, *, now: bool = False) -> int:
        """Settles the outcomes gathered when they are many, have waited, or nothing else goes on."""
        waited = time.monotonic() - self._outcomes_since
        is_time = now or waited >= _FLUSH_SECONDS or not self._executor.in_hand()
        if not self._outcomes or not (is_time or len(self._outcomes) >= self._configuration.batch):
            return 0
        assert self._lease is not None  # noqa: S101 - outcomes come from jobs that were started under it
        began = time.monotonic()
        settled = settle(
            connection, self._lease.id, self._outcomes, crash_limit=self._configuration.crash_limit, random=self._random
        )
        self._on_operation("ack", time.monotonic() - began)
        count = len(self._outcomes)
        self._outcomes = []
        self._count(settled)
        for each in settled.buried:
            _log.warning("job %s of %s is a dead letter: %s", each.job.id, each.job.queue_name, each.error)
        self._note_ends(settled)
        return count

    def _look_after_runs(self, connection: Connection) -> None:
        """Passes on how far handlers are, and ends the runs of jobs that were cancelled or reclaimed meanwhile: their outcome
        would be refused anyway. A cancelled one is asked first.
        """
        if self._lease is None or time.monotonic() < self._runs_at:
            return
        self._runs_at = time.monotonic() + _RUNS_SECONDS
        note_progress(connection, self._lease.id, self._executor.progress())
        jobs = self._executor.in_hand()
        if not jobs:
            self._asked_at.clear()
            return
        held = still_owned(connection, self._lease.id, jobs)
        lost = {job.id for job in jobs} - held.owned
        asked = {job_id: self._asked_at.get(job_id, time.monotonic()) for job_id in lost & held.cancelled}
        if new := set(asked) - set(self._asked_at):
            self._executor.ask_to_stop(new)
        latest = time.monotonic() - self._configuration.cancel_grace_seconds
        ended = {job_id for job_id in lost if job_id not in asked or asked[job_id] <= latest}
        self._asked_at = {job_id: at for job_id, at in asked.items() if job_id not in ended}
        if ended:
            self._executor.drop(ended)
            self.counts.fenced += len(ended)

    def _take(self, connection: Connection) -> int:
        room = min(self._executor.room(), self._configuration.batch)
        if room <= 0 or not self._is_trusted():
            return 0
        if time.monotonic() < self._redis_again_at:
            return self._take_without_redis(connection, room)
        try:
            return self._take_reserved(connection, room)
        except FastLaneUnavailable as error:
            self._avoid_redis(error)
            return 0

    def _take_reserved(self, connection: Connection, room: int) -> int:
        assert self._lease is not None  # noqa: S101 - only called under a lease
        if self._may_hold_reserved:  # a start that failed half-way: what it did is adopted, the rest is to be missed
            self._fast_lane.clear_reserved(self._lease.id)
        self._may_hold_reserved = True
        began = time.monotonic()
        messages = self._fast_lane.reserve(self._lease.id, self._queue_names, room)
        self._redis_outage.ended()
        if not messages:
            self._may_hold_reserved = False
            return 0
        read = [read_ticket(message) for message in messages]
        if None in read:
            foreign = [message for message, ticket in zip(messages, read, strict=True) if ticket is None]
            self._fast_lane.bury_foreign(foreign)
            self.counts.foreign += len(foreign)
        jobs = self._start(connection, list(dict.fromkeys(ticket for ticket in read if ticket is not None)))
        self.counts.stale += len(messages) - read.count(None) - len(jobs)
        self._on_operation("receive", time.monotonic() - began)
        self._submit(jobs)
        self._fast_lane.clear_reserved(self._lease.id)
        self._may_hold_reserved = False
        self._started_lately.update(job.id for job in jobs)
        return len(messages)

    def _start(self, connection: Connection, tickets: Sequence[Ticket]) -> list[StartedJob]:
        """Starts what the tickets are good for, in their order."""
        keys = {"ids": [each.id for each in tickets], "gens": [each.gen for each in tickets]}
        slack = {"slack_seconds": self._configuration.run_slack_seconds}
        jobs = {job.id: job for job in self._started_rows(connection, PROTOCOL["start"], keys | slack)}
        return [jobs[each.id] for each in tickets if each.id in jobs and jobs[each.id].gen == each.gen]

    def _take_without_redis(self, connection: Connection, room: int) -> int:
        """Hands over to itself: the relay's claim, then the usual start."""
        lanes = [(name, band, room) for name in self._queue_names for band in Band]
        hand_offs = claim(connection, lanes, hand_off_seconds=self._configuration.hand_off_seconds, most=room)
        if not hand_offs:
            return 0
        jobs = self._start(connection, [each.ticket for each in hand_offs])
        self.counts.started_without_redis += len(jobs)
        self._submit(jobs)
        return len(jobs)

    def _started_rows(
        self, connection: Connection, statement: LiteralString, parameters: dict[str, Any]
    ) -> list[StartedJob]:
        assert self._lease is not None  # noqa: S101 - only called under a lease
        sent = time.monotonic()
        with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            rows = cursor.execute(statement, {**parameters, "worker_id": self._lease.id}).fetchall()
        return [self._started(row, sent) for row in rows]

    def _started(self, row: dict[str, Any], sent: float) -> StartedJob:
        assert self._lease is not None  # noqa: S101 - only called under a lease
        return StartedJob(
            id=row["id"],
            gen=row["gen"],
            queue_name=row["queue_name"],
            payload=row["payload"],
            attempt=row["attempt_count"],
            max_attempts=row["max_attempts"],
            tenant_id=row["tenant_id"],
            crash_count=row["crash_count"],
            waited_seconds=row["waited_seconds"],
            timeout_seconds=row["timeout_seconds"],
            run_before=sent + row["lease_seconds"],
            worker_id=self._lease.id,
        )

    def _submit(self, jobs: list[StartedJob]) -> None:
        self.counts.started += len(jobs)
        self._executor.submit(jobs)

    def _count(self, settled: Settled) -> None:
        self.counts.completed += len(settled.completed)
        self.counts.retried += len(settled.retried)
        self.counts.dead += len(settled.buried)
        self.counts.released += len(settled.released)
        self.counts.fenced += settled.fenced

    def _note_running(self) -> None:
        """Mirrors in Redis what has been in hand for a moment; what has ended by now needs no word in between."""
        if self._lease is None or time.monotonic() < self._noted_at + _NOTE_SECONDS:
            return
        running = (
            [job.id for job in self._executor.in_hand() if job.id in self._to_be_noted] if self._to_be_noted else []
        )
        self._to_be_noted, self._started_lately = self._started_lately, set()
        self._noted_at = time.monotonic()
        if running:
            try:
                self._fast_lane.note_started(self._lease.id, running)
            except FastLaneUnavailable as error:
                self._avoid_redis(error)

    def _note_ends(self, settled: Settled) -> None:
        """Mirrors ends in Redis, where people and other programs may look; PostgreSQL has them already."""
        if time.monotonic() < self._redis_again_at:
            return
        try:
            if settled.completed:
                self._fast_lane.note_ended("completed", settled.completed)
            if settled.buried:
                self._fast_lane.note_ended("failed", [each.job.id for each in settled.buried])
        except FastLaneUnavailable as error:
            self._avoid_redis(error)

    def _avoid_redis(self, error: FastLaneUnavailable) -> None:
        self._redis_outage.began(error)
        self._redis_again_at = time.monotonic() + _WITHOUT_REDIS_SECONDS

    def _forget_everything(self) -> None:
        """The lease ran out: others may have our jobs. Ends every run, reports nothing, begins anew under a new id."""
        self.counts.leases_lost += 1
        _log.warning("worker: its lease ran out; %d jobs are left to others", len(self._executor.in_hand()))
        self._executor.abandon()
        self._outcomes = []
        self._started_lately, self._to_be_noted = set(), set()
        if self._lease is not None:
            self._lease.close()
            self._lease = None
