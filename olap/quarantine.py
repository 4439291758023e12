"""The quarantine: why an event cannot count, how much of it is usual, and what to do.

Belongs here: the reasons as people see them. Which event has which is decided in sql/facts/examined_events.sql.
"""

from __future__ import annotations

from dataclasses import dataclass

from penguinmails.olap.build import SQL, open_build
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

USUAL_SHARE = 0.001
"""Events that wait for their message, and clocks that go wrong, are usual up to one in a thousand."""
_QUERIES = Queries(SQL / "build" / "quarantine.sql")


@dataclass(frozen=True)
class Reason:
    """Why an event cannot count.

    Args:
        name: as it stands in `quarantine_summary`.
        remedy: what to do about it.
        is_usual: some such events are always there.
    """

    name: str
    remedy: str
    is_usual: bool = True


REASONS = (
    Reason(
        "unknown_event_type",
        "A provider sends a type that no measure counts: map it where events are written, or add a measure.",
        is_usual=False,
    ),
    Reason(
        "no_message", "They count when their message arrives; if it never does, look for who writes events without one."
    ),
    Reason(
        "erased_person",
        "Nothing: it came after the person was erased. Many of them: something still writes to erased persons.",
    ),
    Reason("in_the_future", "A clock is wrong by more than a day: correct it and the events."),
    Reason("before_sent", "Two clocks differ by more than five minutes: correct them and the events."),
)


@dataclass(frozen=True)
class QuarantineState:
    """What is in the quarantine.

    Args:
        events: all events that were read.
        by_reason: how many are quarantined, for every reason.
    """

    events: int
    by_reason: tuple[tuple[Reason, int], ...]

    @property
    def events_quarantined(self) -> int:
        return sum(events for _, events in self.by_reason)

    @property
    def is_small(self) -> bool:
        """True while there is nothing to do."""
        return self.events_quarantined <= self.events * USUAL_SHARE and not any(
            events for reason, events in self.by_reason if not reason.is_usual
        )

    @property
    def remedy(self) -> str | None:
        """What to do; None while there is nothing."""
        if self.is_small:
            return None
        found = "; ".join(f"{events:,} {reason.name}: {reason.remedy}" for reason, events in self.by_reason if events)
        return f"{found} Which tenants and days: penguinmails sql 'FROM quarantine_summary'."


def quarantine_state(stores: Stores, *, wait_seconds: float = WAIT_SECONDS) -> QuarantineState:
    """Returns what the last roll-up left in the quarantine.

    Raises:
        BuildBusy: another process did not finish in time.
    """
    with one_at_a_time(stores.marts_folder, wait_seconds=wait_seconds), open_build(stores.marts_folder) as build:
        found = dict(build.connection.execute(_QUERIES["by_reason"]).fetchall())
        row = build.connection.execute(_QUERIES["events"]).fetchone()
    return QuarantineState(int(row[0]) if row else 0, tuple((reason, found.get(reason.name, 0)) for reason in REASONS))
