"""Handlers in child processes: one that hangs, exits or eats all memory takes only itself along.

Each child runs its jobs one after the other. The parent ends a child whose job runs past its time, notices one that
died, blames exactly the job in hand, and gives the jobs behind it to another child.

Belongs here: the parent's side, one child a slot. Does not belong here: what goes on in a child (child.py), what a handler's
end means for its job (settlement.py).
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Sequence, Set
from itertools import islice
from multiprocessing.connection import Connection, wait
from uuid import UUID

from penguinmails.queue.child import JOB_BYTES, Child
from penguinmails.queue.execution import Kind, Outcome
from penguinmails.queue.executors import RunTime
from penguinmails.queue.handlers import Handlers, Progress, StartedJob

_AHEAD_SECONDS = 0.05
"""How much work a child is given ahead, so that it need not wait for the parent."""
_MOST_AHEAD = 500
_MANY_AHEAD = 20
_MOST_AHEAD_BYTES = 96 * 1024
"""What a child is given ahead: no more than its pipe (208 KiB on Linux) takes while it is busy, so that the parent, who is to end
it when it hangs, never waits to write.
"""


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
        self._children: list[Child] = []
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

    def sources(self) -> Sequence[Connection]:
        return [child.pipe for child in self._children if child.jobs]

    def in_hand(self) -> list[StartedJob]:
        return [*(job for child in self._children for job in child.jobs), *self._pending]

    def trust(self, until: float) -> None:
        with self._lock:  # called from the lease's thread
            self._trusted_until = until
            for child in self._children:
                child.trust(until)

    def progress(self) -> list[tuple[StartedJob, Progress]]:
        found = []
        for child in self._children:
            if child.jobs and child.progress is not None:
                found.append((child.jobs[0], child.progress))
                child.progress = None
        return found

    def ask_to_stop(self, job_ids: Set[UUID]) -> None:
        self._pending = deque(job for job in self._pending if job.id not in job_ids)
        for child in self._children:
            for job in child.jobs:
                if job.id in job_ids:
                    child.ask_to_stop(job)

    def drop(self, job_ids: Set[UUID]) -> None:
        self.ask_to_stop(job_ids)  # what has not begun is passed over
        for child in [each for each in self._children if each.jobs and each.jobs[0].id in job_ids]:
            self._outcomes += self._remove(child)
            first, *behind = child.jobs or [None]
            if (
                first is not None and first.id not in job_ids
            ):  # the next one had begun: given back, not begun again here
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
                try:
                    child = self._start_child()
                except OSError:  # this machine gives no process now: back with what no child can take
                    if child is None:
                        self._outcomes += [Outcome(job, Kind.NOT_RUN) for job in self._pending]
                        self._pending.clear()
                        return
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

    def _next_for(self, child: Child, most: int) -> list[StartedJob]:
        """Returns the first pending jobs that a child may be given now; always one when it has none."""
        jobs: list[StartedJob] = []
        size = child.ahead_bytes
        for job in islice(self._pending, most):
            size += JOB_BYTES + len(job.payload)
            if size > _MOST_AHEAD_BYTES and (child.jobs or jobs):
                break
            jobs.append(job)
        return jobs

    def _start_child(self) -> Child:
        child = Child(self._handlers, self._trusted_until, self._memory_limit_bytes)
        with self._lock:
            self._children.append(child)
            child.trust(self._trusted_until)
        return child

    def _read(self, child: Child) -> list[Outcome]:
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

    def _bury(self, child: Child, reason: str) -> list[Outcome]:
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

    def _remove(self, child: Child) -> list[Outcome]:
        """Ends a child; returns what it had sent before."""
        with self._lock:
            self._children.remove(child)
        child.kill()
        outcomes, _ = child.outcomes()
        child.close()
        return outcomes


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
