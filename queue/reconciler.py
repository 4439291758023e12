"""The reconciler: makes PostgreSQL's hand-offs and Redis agree again, whatever Redis has lost.

Belongs here: looking for overdue hand-offs in Redis, noticing another Redis, mirroring dead letters, the drift between the
two. Does not belong here: dead processes (reaper.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from penguinmails.queue.configuration import Configuration
from penguinmails.queue.connections import Connection
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.fast_lane import MOST_DEAD_LETTERS, FastLane, Ticket
from penguinmails.queue.relay import put_back
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "reaper.sql")
_BATCH = 5_000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_COMMITS_LATE = timedelta(seconds=5)
"""A failure may be committed this long after the moment it bears."""
_DRIFT_SECONDS = 15.0
"""A hand-off that got lost is found by its lease (10 s) and a sweep."""
_MOST_LOOKED_AT = 100_000


def notice_another_redis(connection: Connection, fast_lane: FastLane) -> bool:
    """Makes every hand-off suspect when Redis is not the one of the last look; returns whether that was so.

    The mark of the new epoch is written last: a kill in between repeats the whole, which changes nothing.

    Raises:
        FastLaneUnavailable: Redis is away; the next look will see what it has become.
    """
    fast_lane.begin_epoch()
    epoch = fast_lane.epoch()
    known = connection.execute(QUERIES["known_epoch"]).fetchone()
    if known is not None and known[0] == epoch:
        return False
    connection.execute(QUERIES["suspect_all_hand_offs"])
    connection.execute(QUERIES["remember_epoch"], {"epoch": epoch})
    return True


def reconcile(connection: Connection, fast_lane: FastLane, configuration: Configuration, workers: list[UUID]) -> int:
    """Looks for overdue hand-offs in Redis; puts back the missing ones and returns how many those were.

    A hand-off that is there after all and taken for missing does no harm: its message is stale from then on.

    Args:
        workers: ids of the processes that may have reserved something.
    """
    overdue = connection.execute(QUERIES["overdue_hand_offs"], {"batch": _BATCH}).fetchall()
    lost = 0
    if overdue:
        tickets = {Ticket(row[0], row[1]) for row in overdue}
        present = tickets & _tickets_in_redis(fast_lane, sorted({row[2] for row in overdue}), workers)
        _extend(connection, sorted(present), configuration)
        lost = put_back(connection, sorted(tickets - present))
    connection.execute(QUERIES["note_reconciled"])
    return lost


def mirror_dead_letters(connection: Connection, fast_lane: FastLane, since: datetime | None) -> datetime | None:
    """Shows in Redis which jobs have failed for good, whoever ended them; returns from when on to look the next time.

    Args:
        since: what failed before was mirrored; None mirrors all of the last 7 days, as after a flush.

    Raises:
        FastLaneUnavailable: Redis is away; the next look does it.
    """
    found = connection.execute(QUERIES["dead_letters"], {"since": since, "most": MOST_DEAD_LETTERS}).fetchall()
    fast_lane.bury((row[0], row[2]) for row in reversed(found))
    return max(since or _NEVER, found[0][1] - _COMMITS_LATE) if found else since


def missing_hand_offs(connection: Connection, fast_lane: FastLane, workers: list[UUID]) -> int:
    """Returns how many jobs PostgreSQL has counted as handed over for a while that Redis has not: the drift between the two.

    Raises:
        FastLaneUnavailable: Redis is away.
    """
    old = connection.execute(QUERIES["old_hand_offs"], {"seconds": _DRIFT_SECONDS, "most": _MOST_LOOKED_AT}).fetchall()
    if not old:
        return 0
    names = sorted({row[2] for row in old})
    present = fast_lane.tickets_in_lanes(names) | fast_lane.tickets_reserved(workers)
    missing = [ticket for row in old if (ticket := Ticket(row[0], row[1])) not in present]
    keys = {"ids": [each.id for each in missing], "gens": [each.gen for each in missing]}
    row = connection.execute(QUERIES["still_handed_off"], keys).fetchone()  # some were started while we looked
    return int(row[0]) if row else 0


def _tickets_in_redis(fast_lane: FastLane, queue_names: list[str], workers: list[UUID]) -> set[Ticket]:
    """Where a message comes from before where it goes to: one that moves meanwhile is seen at least once."""
    try:
        return fast_lane.tickets_in_lanes(queue_names) | fast_lane.tickets_reserved(workers)
    except FastLaneUnavailable:
        return set()  # out of reach is as good as lost: workers go around Redis meanwhile


def _extend(connection: Connection, tickets: list[Ticket], configuration: Configuration) -> None:
    connection.execute(
        QUERIES["extend_hand_offs"],
        {
            "ids": [each.id for each in tickets],
            "gens": [each.gen for each in tickets],
            "hand_off_seconds": configuration.hand_off_seconds,
        },
    )
