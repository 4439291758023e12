"""The live path: a long-running process that keeps the published marts within seconds of the operational database.

Each round takes the build lock for the time of one roll-up and one publication, so daily runs and other followers take
turns with it. Belongs here: the loop. Does not belong here: what a round does (roll_up.py, publishing.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from penguinmails.olap.errors import BuildBusy, SourceUnavailable
from penguinmails.olap.live_path import noted
from penguinmails.olap.publishing import PublishReport, publish
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.clock import utc_now
from penguinmails.stack.object_store import ObjectStoreUnavailable
from penguinmails.stack.stores import Stores

INTERVAL_SECONDS = 1.0
"""From the beginning of one round to that of the next, unless a round takes longer."""
_LEAST_PAUSE_SECONDS = 0.3
"""So long at least everybody else can have the build lock."""
QUIET_PUBLISH_SECONDS = 60.0
"""How often the time up to which marts are complete is published when nothing changes."""
_LONGEST_PAUSE_SECONDS = 60.0
_TEMPORARY = (BuildBusy, SourceUnavailable, ObjectStoreUnavailable)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """What one round did.

    Args:
        rows_changed: rows that were news.
        published: what was published, None when there was nothing worth it.
        complete_at: everything committed before this time is in the published marts.
        lag_seconds: how old the published marts were at the end of the round.
    """

    rows_changed: int
    published: PublishReport | None
    complete_at: datetime
    lag_seconds: float


def follow(
    stores: Stores,
    stop: threading.Event,
    *,
    interval_seconds: float = INTERVAL_SECONDS,
    clock: Callable[[], datetime] = utc_now,
    report: Callable[[Round], None] = lambda _: None,
) -> int:
    """Rolls up and publishes until `stop` is set; returns the number of rounds.

    A store that does not answer is tried again with growing pauses: readers keep what was published. Anything else ends
    the process, because trying again cannot mend it (another history, a damaged landing zone, a failed reconciliation).

    Args:
        report: called after each round.
    """
    rounds = failures = 0
    published_at: datetime | None = None
    with noted(stores, clock()) as note:
        while not stop.is_set():
            began_at = time.monotonic()
            try:
                done = _round(stores, published_at, clock)
            except _TEMPORARY as error:
                failures += 1
                pause = min(interval_seconds * 2**failures, _LONGEST_PAUSE_SECONDS)
                _log.warning("%s: %s; trying again in %.0f s", error.thing, error.problem, pause)
                stop.wait(pause)
                continue
            failures = 0
            rounds += 1
            if done.published:
                published_at = clock()
            note.write(done.complete_at)
            report(done)
            stop.wait(max(interval_seconds - (time.monotonic() - began_at), _LEAST_PAUSE_SECONDS))
    return rounds


def _round(stores: Stores, published_at: datetime | None, clock: Callable[[], datetime]) -> Round:
    rolled_up = roll_up(stores, clock=clock)
    quiet = published_at is not None and (clock() - published_at).total_seconds() < QUIET_PUBLISH_SECONDS
    # Dimensions change without a row being news: a batch is reason enough.
    published = None if quiet and rolled_up.batches == 0 else publish(stores, clock=clock, whole=False)
    lag_seconds = (clock() - rolled_up.as_of).total_seconds()
    return Round(rolled_up.rows_changed, published, rolled_up.as_of, lag_seconds)
