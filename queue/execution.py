"""Running one job: payload in, outcome out, whatever the handler does.

Belongs here: calling a handler and naming what came of it. Does not belong here: in which process that happens
(executors), what PostgreSQL is told (worker.py).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from pydantic import ValidationError

from penguinmails.queue.errors import HandlerMistaken, OwnershipLost, PermanentFailure
from penguinmails.queue.handlers import Handlers, JobContext, Progress, StartedJob
from penguinmails.stack.errors import InputError, PlatformError, SettingsError

_MAX_ERROR_CHARACTERS = 500


class Kind(StrEnum):
    """How one run of a job ended."""

    SUCCEEDED = "succeeded"
    FINISHED_BY_HANDLER = "finished_by_handler"
    FAILED = "failed"
    NOT_RUN = "not_run"
    """There was no time left to run it: given back."""
    LOST = "lost"
    """It was taken away: nothing to report."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Args:
        error: for people; holds no payload, no address, no text of foreign exceptions (they may hold either).
        retryable: whether trying again may succeed.
        crashes: 1 when the handler took its process with it.
    """

    job: StartedJob
    kind: Kind
    run_seconds: float = 0.0
    error: str = ""
    retryable: bool = True
    crashes: int = 0


def run_job(
    handlers: Handlers,
    job: StartedJob,
    trusted_until: Callable[[], float],
    *,
    is_taken_away: Callable[[], bool] = lambda: False,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Runs the handler of `job`. Raises nothing but what ends the process on purpose (KeyboardInterrupt).

    Args:
        trusted_until, is_taken_away, tell: see `JobContext`.
    """
    if is_taken_away():
        return Outcome(job, Kind.LOST)
    if time.monotonic() + job.timeout_seconds > job.run_before:
        return Outcome(job, Kind.NOT_RUN)
    context = JobContext(job, trusted_until, is_taken_away, tell)
    began = time.monotonic()
    try:
        handler = handlers[job.queue_name]
        handler.function(handler.payload.model_validate_json(job.payload), context)
    except OwnershipLost:
        return Outcome(job, Kind.LOST, time.monotonic() - began)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a handler may raise anything; the worker lives on
        return _failure(job, error, time.monotonic() - began)
    kind = Kind.FINISHED_BY_HANDLER if context.is_finished else Kind.SUCCEEDED
    return Outcome(job, kind, time.monotonic() - began)


def describe(error: BaseException) -> str:
    """Returns what may be written down about `error`: all of our own errors, of others only kind and place."""
    # PostgreSQL takes neither NUL nor half a character, and an error's text must never be what stops the worker.
    return _description(error).replace("\x00", "").encode("utf-8", "replace").decode()[:_MAX_ERROR_CHARACTERS]


def _description(error: BaseException) -> str:
    if isinstance(error, PlatformError):
        return str(error)
    if isinstance(error, ValidationError):
        fields = ", ".join(
            f"{'.'.join(map(str, each['loc'])) or 'payload'} ({each['type']})"
            for each in error.errors(include_input=False)
        )
        return f"the payload does not fit {error.title}: {fields}"
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return f"{type(error).__name__} (SQLSTATE {error.sqlstate}){_place(error)}"
    return f"{type(error).__name__}{_place(error)}"


def _failure(job: StartedJob, error: BaseException, seconds: float) -> Outcome:
    return Outcome(job, Kind.FAILED, seconds, describe(error), retryable=not _is_permanent(error))


def _is_permanent(error: BaseException) -> bool:
    """Whether trying again cannot succeed. A setting may be missing on this worker only."""
    if isinstance(error, SettingsError):
        return isinstance(error, HandlerMistaken)
    return isinstance(error, (PermanentFailure, ValidationError, InputError))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}"
