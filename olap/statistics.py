"""What can be said about the published marts: what there is, how much, how fresh.

Belongs here: asking the published file. Does not belong here: showing it (cli.py, pipelines).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.reading import open_marts
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class MartStatistics:
    """One published mart."""

    mart: str
    grain: str
    description: str
    rows: int


@dataclass(frozen=True)
class PublishedState:
    """What is published now.

    Args:
        number: of the published file.
        published_at: when it was published.
        as_of: everything committed in the operational database before this time is in it.
        batch: last batch of the landing zone that is in it.
        events_quarantined: events that cannot count, in all.
        marts: every mart.
    """

    number: int
    published_at: datetime
    as_of: datetime
    batch: int
    events_quarantined: int
    marts: tuple[MartStatistics, ...]


def published_state(stores: Stores) -> PublishedState:
    """Returns what is published now.

    Raises:
        NothingPublished: nothing was published yet.
    """
    with open_marts(stores) as connection:
        row = connection.execute("SELECT number, published_at, as_of, batch FROM _meta").fetchone()
        quarantined = connection.execute("SELECT COALESCE(SUM(events), 0) FROM quarantine_summary").fetchone()
        marts = connection.execute("SELECT mart, grain, description, rows FROM _marts ORDER BY mart").fetchall()
    if row is None or quarantined is None:
        raise AssertionError("a published file always has its _meta row")
    number, published_at, as_of, batch = row
    return PublishedState(
        number=number,
        published_at=published_at.replace(tzinfo=UTC),
        as_of=as_of.replace(tzinfo=UTC),
        batch=batch,
        events_quarantined=int(quarantined[0]),
        marts=tuple(MartStatistics(*mart) for mart in marts),
    )


def age_seconds(state: PublishedState, now: datetime) -> float:
    """Returns how far the published marts may be behind the operational database, in seconds."""
    return (now - state.as_of).total_seconds()


def extracted_snapshot(stores: Stores) -> str | None:
    """Returns the snapshot of the operational database that is published, as PostgreSQL writes it; None before any is.

    What it shows has left the operational database for the marts: retention there asks for it.
    """
    try:
        connection = open_marts(stores)
    except NothingPublished:
        return None
    with connection:
        row = connection.execute("SELECT snapshot FROM _meta").fetchone()
    return str(row[0]) if row else None
