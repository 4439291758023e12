"""Executors: where handlers run.

Belongs here: the contract, and the executor that runs handlers in the calling process, one at a time. Does not belong
here: child processes (child_processes.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from multiprocessing.connection import Connection
from typing import Protocol
from uuid import UUID

from penguinmails.queue.execution import Outcome, run_job
from penguinmails.queue.handlers import Handlers, Progress, StartedJob

_TURN_SECONDS = 0.5
_MOST_IN_HAND = 1_000
_OF_THE_NEW = 0.2
"""How much the newest run counts in the running average of run times."""


class Executor(Protocol):
    """Takes started jobs, gives outcomes."""

    @property
    def slots(self) -> int:
        """How many handlers run at once."""

    def room(self) -> int:
        """How many more jobs it should be given now: few when they take long."""

    def submit(self, jobs: Sequence[StartedJob]) -> None:
        """Takes jobs over."""

    def collect(self, seconds: float) -> list[Outcome]:
        """Returns what has come out, waiting at most about `seconds` for the first."""

    def sources(self) -> Sequence[Connection]:
        """Returns what becomes readable when an outcome may have come out."""

    def in_hand(self) -> list[StartedJob]:
        """Returns the jobs without an outcome."""

    def trust(self, until: float) -> None:
        """Is told until when, on the monotonic clock, the worker's lease may be trusted."""

    def progress(self) -> list[tuple[StartedJob, Progress]]:
        """Returns how far handlers have got, of those that said something since the last question."""

    def ask_to_stop(self, job_ids: Set[UUID]) -> None:
        """Tells these runs that their jobs are not this worker's any more; what has not begun does not begin."""

    def drop(self, job_ids: Set[UUID]) -> None:
        """Ends these runs without an outcome: the jobs are not this worker's any more."""

    def abandon(self) -> list[StartedJob]:
        """Ends every run at once and returns the jobs that had no outcome."""

    def close(self) -> None:
        """Frees what it holds."""


class RunTime:
    """A running average of how long jobs take."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def add(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else (1 - _OF_THE_NEW) * self.seconds + _OF_THE_NEW * seconds

    def jobs_within(self, seconds: float, most: int) -> int:
        """Returns how many jobs fill `seconds`: one as long as nothing is known."""
        if self.seconds is None:
            return 1
        return max(1, min(most, int(seconds / max(self.seconds, 1e-6))))


class InlineExecutor:
    """Runs handlers in the calling thread: for draining in one process. Cannot end a handler that hangs."""

    slots = 1

    def __init__(self, handlers: Handlers, *, stop: Callable[[], bool] = lambda: False) -> None:
        self._handlers = handlers
        self._stop = stop
        self._jobs: deque[StartedJob] = deque()
        self._run_time = RunTime()
        self._trusted_until = time.monotonic()

    def room(self) -> int:
        return max(0, self._run_time.jobs_within(_TURN_SECONDS, _MOST_IN_HAND) - len(self._jobs))

    def submit(self, jobs: Sequence[StartedJob]) -> None:
        self._jobs.extend(jobs)

    def collect(self, seconds: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        end = time.monotonic() + max(seconds, _TURN_SECONDS)
        while self._jobs and time.monotonic() < end and not self._stop():
            outcome = run_job(self._handlers, self._jobs[0], lambda: self._trusted_until)
            self._jobs.popleft()
            self._run_time.add(outcome.run_seconds)
            outcomes.append(outcome)
        return outcomes

    def sources(self) -> Sequence[Connection]:
        return ()  # runs only while it is asked

    def in_hand(self) -> list[StartedJob]:
        return list(self._jobs)

    def trust(self, until: float) -> None:
        self._trusted_until = until

    def progress(self) -> list[tuple[StartedJob, Progress]]:
        return []  # whoever asks does so between two jobs

    def ask_to_stop(self, job_ids: Set[UUID]) -> None:
        self.drop(job_ids)

    def drop(self, job_ids: Set[UUID]) -> None:
        self._jobs = deque(job for job in self._jobs if job.id not in job_ids)

    def abandon(self) -> list[StartedJob]:
        left = list(self._jobs)
        self._jobs.clear()
        return left

    def close(self) -> None:
        self._jobs.clear()
