"""One child process that runs handlers, its pipe of jobs and outcomes, and the line that tells it how long it may live.

Belongs here: both ends of the two pipes. Does not belong here: which child gets which job, and what follows from its end
(child_processes.py).
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
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from uuid import UUID

from penguinmails.queue.execution import Kind, Outcome, run_job
from penguinmails.queue.handlers import Handlers, Progress, StartedJob

JOB_BYTES = 512
"""A job on its way, without its payload."""
_START_SECONDS = 60.0
"""How long a child may take to start and import what its handlers need."""
_TRUST = struct.Struct("!d")
"""On the life line: until when the lease may be trusted."""
_STOP = struct.Struct("!16sq")
"""On the life line: id and generation of a job that is not the worker's any more."""
_Report = tuple[str, float, str, bool, int]
"""An outcome without its job, which the parent knows: kind, seconds, error, retryable, crashes."""
_Word = _Report | Progress | None
"""What a child sends; None when it is ready."""


class Child:
    """The parent's end of a child."""

    def __init__(self, handlers: Handlers, trusted_until: float, memory_limit_bytes: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        read_end, self._life_line = context.Pipe(duplex=False)
        os.set_blocking(self._life_line.fileno(), False)  # a frozen child reads nothing, and must not hold up the lease
        self._readable = select.poll()
        self._readable.register(self.pipe.fileno(), select.POLLIN)
        self.jobs: deque[StartedJob] = deque()
        self.progress: Progress | None = None
        """What the job in hand said last, until it is asked for."""
        self.is_ready = False
        self._began = time.monotonic()
        self.process = context.Process(
            target=_serve,
            args=(theirs, read_end, handlers, trusted_until, memory_limit_bytes),
            name="queue handlers",
            daemon=True,
        )
        try:
            self.process.start()
        except BaseException:
            self.close()
            raise
        finally:
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
        return sum(JOB_BYTES + len(job.payload) for job in self.jobs)

    @property
    def allowed_seconds(self) -> float:
        """How long it may take to send its next outcome."""
        return self.jobs[0].timeout_seconds if self.is_ready else _START_SECONDS

    def running_seconds(self) -> float:
        return time.monotonic() - self._began

    def trust(self, until: float) -> None:
        self._tell(_TRUST.pack(until))

    def ask_to_stop(self, job: StartedJob) -> None:
        self._tell(_STOP.pack(job.id.bytes, job.gen))

    def outcomes(self) -> tuple[list[Outcome], bool]:
        """Returns what has come out, and whether the child may send more."""
        outcomes: list[Outcome] = []
        try:
            while self._readable.poll(0):
                word: _Word = self.pipe.recv()
                if isinstance(word, Progress):
                    self.progress = word
                    continue
                self._began = time.monotonic()
                if word is None:
                    self.is_ready = True
                else:
                    kind, run_seconds, error, retryable, crashes = word
                    self.progress = None
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

    def _tell(self, message: bytes) -> None:
        with suppress(OSError):  # it is dying, or has not read for hours: its end is noticed elsewhere
            self._life_line.send_bytes(message)


def _serve(
    pipe: Pipe, life_line: Pipe, handlers: Handlers, trusted_until: float, memory_limit_bytes: int | None
) -> None:
    """The child: runs what comes until the parent is gone."""
    _bound_memory(memory_limit_bytes)
    for stopping in (signal.SIGINT, signal.SIGTERM):  # often sent to us too; the parent's business, it lets us finish
        signal.signal(stopping, signal.SIG_IGN)
    line = _LifeLine(life_line, trusted_until)
    sending = threading.Lock()  # a handler may report progress from a thread of its own

    def send(word: _Word) -> None:
        try:
            with sending:
                pipe.send(word)
        except OSError:  # the parent is gone, and with it whoever would hear an error
            os._exit(71)

    send(None)
    while True:
        try:
            jobs: list[StartedJob] = pipe.recv()
        except (EOFError, OSError):
            return
        for job in jobs:
            key = (job.id, job.gen)
            outcome = run_job(
                handlers, job, lambda: line.trusted_until, is_taken_away=partial(line.lost, key), tell=send
            )
            # One by one: whoever dies is blamed for the job in hand and no other.
            send((outcome.kind.value, outcome.run_seconds, outcome.error, outcome.retryable, outcome.crashes))
            line.forget(key)


def _bound_memory(limit_bytes: int | None) -> None:
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    with suppress(OSError):  # Linux: when memory runs out, a child is to go before its parent
        Path("/proc/self/oom_score_adj").write_text("500")


class _LifeLine:
    """Follows what the parent says of its lease and of jobs. Ends this process, in the middle of whatever it does, when the
    lease may have run out or the parent is gone: from then on another worker may have our job.
    """

    def __init__(self, line: Pipe, trusted_until: float) -> None:
        self.trusted_until = trusted_until
        self._line = line
        self._lost: set[tuple[UUID, int]] = set()
        threading.Thread(target=self._follow, name="lease of the parent", daemon=True).start()

    def lost(self, key: tuple[UUID, int]) -> bool:
        """Whether the parent has said that this run's job is not its own any more."""
        return key in self._lost

    def forget(self, key: tuple[UUID, int]) -> None:
        self._lost.discard(key)

    def _follow(self) -> None:
        while True:
            left = max(0.0, self.trusted_until - time.monotonic())
            if not select.select([self._line], [], [], left)[0]:
                os._exit(70)
            try:
                message = self._line.recv_bytes()
            except (EOFError, OSError):
                os._exit(71)
            if len(message) == _TRUST.size:
                (self.trusted_until,) = _TRUST.unpack(message)
            else:
                job_id, gen = _STOP.unpack(message)
                self._lost.add((UUID(bytes=job_id), gen))
