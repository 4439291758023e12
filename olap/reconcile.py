"""Reconciliation: does what the marts are made from agree with the operational database?

Both sides are asked at the same snapshot, so that what was committed since is no difference. Belongs here: the
comparison of what was read. Does not belong here: comparing results (tests do, against PostgreSQL's own answer).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from pydantic import SecretStr

from penguinmails.olap.build import SQL, Build, open_build
from penguinmails.olap.errors import NothingPublished, ReconciliationFailed, SourceUnavailable
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_DATABASE = Queries(SQL / "postgresql" / "reconciliation.sql")
_BUILD = Queries(SQL / "build" / "reconciliation.sql")
_BYTES_ARE_NUMBERS_SINCE = 180000
"""Version of PostgreSQL that casts bytes to a number: half of what the whole question costs with the text of each id."""
_LAST_48_BITS_OF_BYTES: LiteralString = "substring(uuid_send(id) FROM 11)::bigint"
_LAST_48_BITS_OF_TEXT: LiteralString = "('x' || right(id::text, 12))::bit(48)::bigint"
_SHOWN = 5
_FIRST_DAY, _LAST_DAY = date(1, 1, 1), date(9999, 12, 31)
EventCount = tuple[str, date, int, int]
"""Tenant, UTC day, number of events, checksum of their ids."""
_Side = dict[tuple[date, str], tuple[int, int]]


@dataclass(frozen=True)
class Difference:
    """One tenant and day on which the two sides disagree; counts of events."""

    day: date
    tenant_id: str
    rows_in_database: int
    rows_in_marts: int


@dataclass(frozen=True)
class ReconciliationReport:
    """What a reconciliation found.

    Args:
        days: days compared.
        rows: events compared.
        differences: tenants and days that disagree.
        seconds: how long it took.
    """

    days: int
    rows: int
    differences: tuple[Difference, ...]
    seconds: float


def reconcile(
    stores: Stores, *, days: Sequence[date] | None = None, wait_seconds: float = WAIT_SECONDS
) -> ReconciliationReport:
    """Compares what was rolled up with the operational database.

    Args:
        days: UTC days of the events to compare; None for all.

    Raises:
        NothingPublished: nothing was rolled up yet.
        SourceUnavailable: the operational database cannot be read.
    """
    with (
        one_at_a_time(stores.marts_folder, wait_seconds=wait_seconds),
        open_build(stores.marts_folder) as build,
    ):
        return reconcile_build(build, stores.oltp_url, days=days)


def reconcile_build(build: Build, url: SecretStr, *, days: Sequence[date] | None = None) -> ReconciliationReport:
    """Does what `reconcile` does, for the process that holds the lock already; in another thread as well."""
    with build.connection.cursor() as cursor:
        return _reconcile(Build(cursor), url, days)


def _reconcile(build: Build, url: SecretStr, days: Sequence[date] | None) -> ReconciliationReport:
    position = build.position()
    if position is None:
        raise NothingPublished("the marts", "have never been rolled up", "Run 'penguinmails marts roll-up'.")

    def kept(from_time: datetime | None, to_time: datetime | None) -> Sequence[EventCount]:
        naive = {
            "from_time": from_time and from_time.replace(tzinfo=None),
            "to_time": to_time and to_time.replace(tzinfo=None),
        }
        return build.connection.execute(_BUILD["events"], naive).fetchall()

    return compare_events(url, position.mark.snapshot, kept, days=days)


def compare_events(
    url: SecretStr,
    snapshot: str,
    kept: Callable[[datetime | None, datetime | None], Iterable[EventCount]],
    *,
    days: Sequence[date] | None = None,
) -> ReconciliationReport:
    """Compares the operational database with what `kept` says of the events between two times, None for no bound.

    Args:
        snapshot: of the operational database, up to which the other side was read.
        days: as for `reconcile`.

    Raises:
        SourceUnavailable: the operational database cannot be read.
    """
    started_at = time.monotonic()
    ours: _Side = {}
    theirs: _Side = {}
    with open_database(url) as connection:
        for from_time, to_time in [(None, None)] if days is None else _ranges(days):
            bounds = {"snapshot": snapshot, "from_time": from_time, "to_time": to_time}
            theirs |= _by_day_and_tenant(connection.execute(_events_of(connection), bounds))
            ours |= _by_day_and_tenant(kept(from_time, to_time))
    return ReconciliationReport(
        days=len({day for day, _ in ours.keys() | theirs.keys()}),
        rows=sum(rows for rows, _ in theirs.values()),
        differences=tuple(_differences(ours, theirs)),
        seconds=time.monotonic() - started_at,
    )


def _events_of(connection: psycopg.Connection[Any]) -> LiteralString:
    has_cast = connection.info.server_version >= _BYTES_ARE_NUMBERS_SINCE
    last_48_bits = _LAST_48_BITS_OF_BYTES if has_cast else _LAST_48_BITS_OF_TEXT
    return _DATABASE["events"].format(last_48_bits_of_id=last_48_bits)


@contextmanager
def open_database(url: SecretStr) -> Iterator[psycopg.Connection[Any]]:
    """Opens one transaction that shows one moment of all tenants.

    Raises:
        SourceUnavailable: the operational database cannot be read, now or while it is open.
    """
    try:
        with psycopg.connect(url.get_secret_value()) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(sql.SQL("SET LOCAL ROLE pm_reader"))
            yield connection
    except psycopg.Error as error:
        raise SourceUnavailable(
            "the operational database",
            f"cannot be read (SQLSTATE {error.sqlstate or 'none: no connection'})",
            "Run 'penguinmails doctor', then run again; nothing was changed.",
        ) from None


def _by_day_and_tenant(counts: Iterable[EventCount]) -> _Side:
    return {(day, tenant): (rows, checksum) for tenant, day, rows, checksum in counts}


def require_agreement(report: ReconciliationReport) -> None:
    """Raises `ReconciliationFailed` with the first differences when there are any."""
    if not report.differences:
        return
    shown = "; ".join(
        f"{found.day} tenant {found.tenant_id}: {found.rows_in_database} events in the database, "
        f"{found.rows_in_marts} in the marts"
        for found in report.differences[:_SHOWN]
    )
    raise ReconciliationFailed(
        "the marts",
        f"disagree with the operational database on {len(report.differences)} tenant days ({shown})",
        "Nothing was published. Run 'penguinmails marts rebuild', then publish again.",
    )


def _differences(ours: _Side, theirs: _Side) -> Iterator[Difference]:
    oldest = min((day for day, _ in theirs), default=None)
    for key in sorted(ours.keys() | theirs.keys()):
        day, tenant = key
        if oldest is None or day < oldest:
            continue  # aged out of the operational database; the marts keep their sums
        mine, right = ours.get(key, (0, 0)), theirs.get(key, (0, 0))
        if mine != right:
            yield Difference(day, tenant, right[0], mine[0])


def _ranges(days: Sequence[date]) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yields the runs of consecutive days as half-open ranges; open where PostgreSQL's infinity may lie."""
    ordered = sorted(set(days))
    breaks = [place for place in range(1, len(ordered)) if ordered[place] - ordered[place - 1] > timedelta(days=1)]
    for start, end in pairwise([0, *breaks, len(ordered)] if ordered else []):
        first, last = ordered[start], ordered[end - 1]
        yield (
            None if first == _FIRST_DAY else datetime(first.year, first.month, first.day, tzinfo=UTC),
            None if last == _LAST_DAY else datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1),
        )
