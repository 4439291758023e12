"""Handlers: what is done with a job of a queue.

Belongs here: how a handler is declared and found, and what it is told. Does not belong here: running it (execution.py),
any handler that reaches into another tier (pipelines/ registers those under the entry-point group GROUP).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from pydantic import BaseModel, ConfigDict

from penguinmails.queue.errors import HandlerMistaken, OwnershipLost
from penguinmails.stack.ports import contributions
from penguinmails.stack.sql import Queries

GROUP = "penguinmails.queue_handlers"
"""Entry points: the name is the queue's, the object a `Handler`."""

_PROGRESS_SECONDS = 0.25
"""What is said more often is not passed on."""
_MAX_NOTE_CHARACTERS = 200
PROTOCOL = Queries(Path(__file__).parent / "sql" / "protocol.sql")
PayloadModel = TypeVar("PayloadModel", bound=BaseModel)


@dataclass(frozen=True)
class StartedJob:
    """A job this worker has started and owns until `run_before`.

    Args:
        run_before: on this machine's monotonic clock, seconds; it must have begun `timeout_seconds` before that.
    """

    id: UUID
    gen: int
    queue_name: str
    payload: str
    attempt: int
    max_attempts: int
    tenant_id: UUID | None
    crash_count: int
    waited_seconds: float
    timeout_seconds: float
    run_before: float
    worker_id: UUID


@dataclass(frozen=True)
class Progress:
    """How far a handler says it is.

    Args:
        share: of the work that is done, 0 to 1.
        note: what it is at; no personal data.
    """

    share: float
    note: str = ""


@dataclass
class JobContext:
    """What a handler is told about the job in hand, and how it asks.

    Args:
        trusted_until: until when, on the monotonic clock, this process may count on its lease.
        is_taken_away: whether the worker has heard that the job was cancelled or is another's now.
        tell: passes progress on.
    """

    job: StartedJob
    trusted_until: Callable[[], float]
    is_taken_away: Callable[[], bool] = lambda: False
    tell: Callable[[Progress], None] = lambda _: None
    is_finished: bool = field(default=False, init=False)
    _told_at: float = field(default=0.0, init=False)

    @property
    def fence(self) -> tuple[UUID, int]:
        """Rises with every run of the job: whatever keeps the highest fence it saw can refuse a late run."""
        return (self.job.id, self.job.gen)

    @property
    def idempotency_key(self) -> str:
        """The same for every run of the job: give it to whoever can recognise a repetition."""
        return str(self.job.id)

    @property
    def seconds_left(self) -> float:
        """How long this run may still count on owning the job."""
        return min(self.trusted_until(), self.job.run_before) - time.monotonic()

    @property
    def is_cancelled(self) -> bool:
        """True once the job was cancelled or taken away: put things in order and return; a handler that does not is ended."""
        return self.is_taken_away() or self.seconds_left <= 0

    def assert_owned(self) -> None:
        """Makes sure, from what this process knows, that the job is still this run's.

        Raises:
            OwnershipLost: it is not; stop without any further effect.
        """
        if self.is_cancelled:
            raise self._lost()

    def report_progress(self, share: float, note: str = "") -> None:
        """Says how far this run is, for people who look; may be called as often as one likes.

        Args:
            share: of the work that is done, 0 to 1.
            note: what it is at, in a few words; no personal data.
        """
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_SECONDS or share >= 1:
            self._told_at = now
            self.tell(Progress(min(1.0, max(0.0, share)), note.replace("\x00", "")[:_MAX_NOTE_CHARACTERS]))

    def finish_within(self, connection: psycopg.Connection[Any]) -> None:
        """Completes the job inside the handler's own transaction on the queue's database: effect and end are one.

        Raises:
            OwnershipLost: the job was taken away; roll back.
        """
        ended = connection.execute(
            PROTOCOL["finish"], {"ids": [self.job.id], "gens": [self.job.gen], "worker_id": self.job.worker_id}
        ).fetchone()
        if ended is None:
            raise self._lost()
        self.is_finished = True

    def _lost(self) -> OwnershipLost:
        return OwnershipLost(f"job {self.job.id}", "does not belong to this run any more", "Leave it to its next run.")


@dataclass(frozen=True)
class Handler(Generic[PayloadModel]):
    """A queue's handler.

    Args:
        queue_name: whose jobs it takes.
        payload: the pydantic model payloads must fit; one that does not becomes a dead letter at once.
        function: does the work. Returning is success; any exception is a failed attempt, `PermanentFailure` the last.
    """

    queue_name: str
    payload: type[PayloadModel]
    function: Callable[[PayloadModel, JobContext], None]


class Handlers:
    """The handlers a worker has, by queue; those of entry points are loaded when their first job comes."""

    def __init__(self, handlers: Mapping[str, Handler[Any]] | None = None, *, with_installed: bool = False) -> None:
        self._loaded: dict[str, Handler[Any]] = dict(handlers or {})
        self._with_installed = with_installed

    @classmethod
    def installed(cls) -> Handlers:
        """The platform's own handlers and those of every installed package."""
        return cls(with_installed=True)

    @property
    def queue_names(self) -> list[str]:
        """The queues there is a handler for, by name."""
        installed = {*OWN, *contributions(GROUP)} if self._with_installed else set()
        return sorted({*self._loaded, *installed})

    def __getitem__(self, queue_name: str) -> Handler[Any]:
        if queue_name not in self._loaded:
            self._loaded[queue_name] = self._load(queue_name)
        return self._loaded[queue_name]

    def _load(self, queue_name: str) -> Handler[Any]:
        entry = self._entry_point(queue_name) if self._with_installed else None
        if entry is None:
            raise HandlerMistaken(
                f"queue {queue_name}", "has no handler here", f"Register one under the entry-point group {GROUP}."
            )
        handler = entry.load()
        if not isinstance(handler, Handler) or handler.queue_name != queue_name:
            raise HandlerMistaken(f"handler {entry.value}", f"is no Handler of {queue_name}", "Mend its entry point.")
        return handler

    def _entry_point(self, queue_name: str) -> EntryPoint | None:
        installed = contributions(GROUP).get(queue_name)
        if installed is None and queue_name in OWN:
            return EntryPoint(queue_name, OWN[queue_name], GROUP)
        return installed


class Ping(BaseModel):
    """Payload of a ping: nothing, or a note for people."""

    model_config = ConfigDict(extra="forbid")

    note: str = ""


def _ping(_: Ping, context: JobContext) -> None:
    context.assert_owned()


PING = Handler("platform:ping", Ping, _ping)

OWN = {
    "platform:ping": "penguinmails.queue.handlers:PING",
    "webhook:process": "penguinmails.queue.webhooks:WEBHOOK",
}
"""The handlers that need no other tier; an entry point of the same name goes before them."""
