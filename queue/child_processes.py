"""Handlers in child processes: one that hangs, exits or eats all memory takes only itself along.

Each child runs its jobs one after the other. The parent ends a child whose job runs past its time, notices one that
died, blames exactly the job in hand, and gives the jobs behind it to another child.

Belongs here: children and their pipes. Does not belong here: what a handler's end means for its job (settlement.py).
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import select
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence, Set
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from pathlib import Path
from uuid import UUID

from penguinmails.queue.execution import Kind, Outcome, run_job
from penguinmails.queue.executors import RunTime
from penguinmails.queue.handlers import Handlers, StartedJob

_AHEAD_SECONDS = 0.05
"""How much work a child is given ahead, so that it need not wait for the parent."""
_MOST_AHEAD = 500
_MANY_AHEAD = 20
_MOST_AHEAD_BYTES = 96 * 1024
"""What a child is given ahead: no more than its pipe (208 KiB on Linux) takes while it is busy, so that the parent, who is to end
it when it hangs, never waits to write.
"""
_JOB_BYTES = 512
"""A job on its way, without its payload."""
_START_SECONDS = 60.0
"""How long a child may take to start and import what its handlers need."""
_TRUST = struct.Struct("!d")
_Report = tuple[str, float, str, bool, int]
"""An outcome without its job, which the parent knows: kind, seconds, error, retryable, crashes."""


class ChildProcesses:
    """An executor with one child process a slot. Children are started at first use and again when they died.

    Args:
        handlers: what they run; must be picklable (handlers of entry points are loaded in the child).
        memory_limit_bytes: address space of one child; beyond it a handler gets MemoryError. None is no limit.
    """

    def __init__(self, handlers: Handlers, *, slots: int, memory_limit_bytes: int | None = None) -> None:
        self._handlers = handlers
        self._memory_limit_bytes = memory_limit_bytes
        self._slots = slots
        self._pending: deque[StartedJob] = deque()
        self._children: list[_Child] = []
        self._outcomes: list[Outcome] = []
        self._run_time = RunTime()
        self._trusted_until = 0.0
        self._lock = threading.Lock()

    @property
    def slots(self) -> int:
        return self._slots

    def room(self) -> int:
        ahead = self._run_time.jobs_within(_AHEAD_SECONDS, _MOST_AHEAD)
        wanted = self._slots * ahead
        room = max(0, wanted - len(self._pending) - sum(len(child.jobs) for child in self._children))
        # Of jobs this short many are taken at once, when half of the last are done: one statement for many.
        return 0 if ahead >= _MANY_AHEAD and room < wanted // 2 else room

    def submit(self, jobs: Sequence[StartedJob]) -> None:
        self._pending.extend(jobs)
        self._hand_out()

    def collect(self, seconds: float) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        waiting_for = {child.pipe: child for child in self._children if child.jobs}
        if waiting_for:
            for pipe in wait(list(waiting_for), timeout=seconds):
                outcomes += self._read(waiting_for[pipe])  # type: ignore[index]  # what came out is what went in
        outcomes += self._end_overdue()
        self._hand_out()
        return outcomes

    def in_hand(self) -> list[StartedJob]:
        return [*(job for child in self._children for job in child.jobs), *self._pending]

    def trust(self, until: float) -> None:
        with self._lock:  # called from the lease's thread
            self._trusted_until = until
            for child in self._children:
                child.trust(until)

    def drop(self, job_ids: Set[UUID]) -> None:
        self._pending = deque(job for job in self._pending if job.id not in job_ids)
        for child in [each for each in self._children if any(job.id in job_ids for job in each.jobs)]:
            self._outcomes += self._remove(child)
            first, *behind = child.jobs or [None]
            if first is not None and first.id not in job_ids:  # it had begun: given back, not begun again here
                self._outcomes.append(Outcome(first, Kind.NOT_RUN))
            self._pending.extendleft(job for job in reversed(behind) if job is not None and job.id not in job_ids)
        self._hand_out()

    def abandon(self) -> list[StartedJob]:
        left = self.in_hand()
        self._pending.clear()
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.kill()
            child.close()
        return left

    def close(self) -> None:
        self.abandon()

    def _hand_out(self) -> None:
        """Gives pending jobs to the children that have the least ahead."""
        ahead = self._run_time.jobs_within(_AHEAD_SECONDS, _MOST_AHEAD)
        while self._pending:
            child = min(self._children, key=lambda each: len(each.jobs), default=None)
            if (child is None or child.jobs) and len(self._children) < self._slots:
                child = self._start_child()
            if child is None or len(child.jobs) >= ahead:
                return
            jobs = self._next_for(child, -(-ahead // 2))
            if not jobs:
                return
            try:
                child.give(jobs)
            except OSError:  # it is dying: its end is read from its pipe
                return
            for _ in jobs:
                self._pending.popleft()

    def _next_for(self, child: _Child, most: int) -> list[StartedJob]:
        """Returns the first pending jobs that a child may be given now; always one when it has none."""
        jobs: list[StartedJob] = []
        size = child.ahead_bytes
        for job in islice(self._pending, most):
            size += _JOB_BYTES + len(job.payload)
            if size > _MOST_AHEAD_BYTES and (child.jobs or jobs):
                break
            jobs.append(job)
        return jobs

    def _start_child(self) -> _Child:
        child = _Child(self._handlers, self._trusted_until, self._memory_limit_bytes)
        with self._lock:
            self._children.append(child)
            child.trust(self._trusted_until)
        return child

    def _read(self, child: _Child) -> list[Outcome]:
        outcomes, is_alive = child.outcomes()
        for outcome in outcomes:
            self._run_time.add(outcome.run_seconds)
        return outcomes if is_alive else [*outcomes, *self._bury(child, "")]

    def _end_overdue(self) -> list[Outcome]:
        outcomes = []
        for child in list(self._children):
            if child.jobs and child.running_seconds() > child.allowed_seconds:
                outcomes += self._bury(child, f"it ran longer than {child.jobs[0].timeout_seconds:g} s")
        return outcomes

    def _bury(self, child: _Child, reason: str) -> list[Outcome]:
        """Ends a child, blames the job in hand and takes back those behind it."""
        outcomes = self._remove(child)
        if not child.jobs:
            return outcomes
        if not child.is_ready:  # no job's fault
            return [*outcomes, *(Outcome(job, Kind.NOT_RUN) for job in child.jobs)]
        job, *behind = child.jobs
        self._pending.extendleft(reversed(behind))
        error = reason or f"the handler ended its process ({_how_it_ended(child.process.exitcode)})"
        return [*outcomes, Outcome(job, Kind.FAILED, child.running_seconds(), error, crashes=0 if reason else 1)]

    def _remove(self, child: _Child) -> list[Outcome]:
        """Ends a child; returns what it had sent before."""
        with self._lock:
            self._children.remove(child)
        child.kill()
        outcomes, _ = child.outcomes()
        child.close()
        return outcomes


class _Child:
    """One child process, the pipe of jobs and outcomes, and the line that tells it how long it may live."""

    def __init__(self, handlers: Handlers, trusted_until: float, memory_limit_bytes: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        read_end, self._life_line = context.Pipe(duplex=False)
        os.set_blocking(self._life_line.fileno(), False)  # a frozen child reads nothing, and must not hold up the lease
        self._readable = select.poll()
        self._readable.register(self.pipe.fileno(), select.POLLIN)
        self.jobs: deque[StartedJob] = deque()
        self.is_ready = False
        self._began = time.monotonic()
        self.process = context.Process(
            target=_serve,
            args=(theirs, read_end, handlers, trusted_until, memory_limit_bytes),
            name="queue handlers",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        read_end.close()

    def give(self, jobs: list[StartedJob]) -> None:
        self.pipe.send(jobs)
        if not self.jobs and self.is_ready:
            self._began = time.monotonic()
        self.jobs.extend(jobs)

    @property
    def ahead_bytes(self) -> int:
        """How much it was given and has not worked off."""
        return sum(_JOB_BYTES + len(job.payload) for job in self.jobs)

    @property
    def allowed_seconds(self) -> float:
        """How long it may take to send its next word."""
        return self.jobs[0].timeout_seconds if self.is_ready else _START_SECONDS

    def running_seconds(self) -> float:
        return time.monotonic() - self._began

    def trust(self, until: float) -> None:
        with suppress(OSError):
            self._life_line.send_bytes(_TRUST.pack(until))

    def outcomes(self) -> tuple[list[Outcome], bool]:
        """Returns what has come out, and whether the child may send more."""
        outcomes: list[Outcome] = []
        try:
            while self._readable.poll(0):
                report: _Report | None = self.pipe.recv()
                self._began = time.monotonic()
                if report is None:
                    self.is_ready = True
                else:
                    kind, run_seconds, error, retryable, crashes = report
                    outcomes.append(Outcome(self.jobs.popleft(), Kind(kind), run_seconds, error, retryable, crashes))
        except (EOFError, OSError):
            return outcomes, False
        return outcomes, True

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        self.pipe.close()
        self._life_line.close()


def _serve(
    pipe: Pipe, life_line: Pipe, handlers: Handlers, trusted_until: float, memory_limit_bytes: int | None
) -> None:
    """The child: runs what comes until the parent is gone."""
    _bound_memory(memory_limit_bytes)
    for stopping in (signal.SIGINT, signal.SIGTERM):  # often sent to us too; the parent's business, it lets us finish
        signal.signal(stopping, signal.SIG_IGN)
    trust = _Trust(life_line, trusted_until)
    pipe.send(None)
    while True:
        try:
            jobs: list[StartedJob] = pipe.recv()
        except (EOFError, OSError):
            return
        for job in jobs:
            outcome = run_job(handlers, job, lambda: trust.until)
            report: _Report = (
                outcome.kind.value,
                outcome.run_seconds,
                outcome.error,
                outcome.retryable,
                outcome.crashes,
            )
            pipe.send(report)  # one by one: whoever dies is blamed for the job in hand and no other


def _bound_memory(limit_bytes: int | None) -> None:
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    with suppress(OSError):  # Linux: when memory runs out, a child is to go before its parent
        Path("/proc/self/oom_score_adj").write_text("500")


class _Trust:
    """Follows the parent's lease. Ends this process, in the middle of whatever it does, when the lease may have run out or
    the parent is gone: from then on another worker may have our job.
    """

    def __init__(self, life_line: Pipe, until: float) -> None:
        self.until = until
        self._life_line = life_line
        threading.Thread(target=self._follow, name="lease of the parent", daemon=True).start()

    def _follow(self) -> None:
        while True:
            left = max(0.0, self.until - time.monotonic())
            if not select.select([self._life_line], [], [], left)[0]:
                os._exit(70)
            try:
                (self.until,) = _TRUST.unpack(self._life_line.recv_bytes())
            except (EOFError, OSError):
                os._exit(71)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
