"""Publishing: the marts as one new file that takes the place of the last by moving a link.

Order: write a file under an unfinished name and check it, while the operational database is asked whether it agrees; bring the
file to disk, give it its name, move the link. Whatever fails or is killed before the last step leaves readers what they had.

Belongs here: that order, and the kept snapshots. Does not belong here: writing the file (mart_file.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

from penguinmails.olap.build import SQL, Build, open_build
from penguinmails.olap.disk import to_disk
from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.facts import FACTS
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.mart_file import STORAGE_VERSION, write_changes, write_whole
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.reading import number_of, published_path, snapshot_path, snapshots
from penguinmails.olap.reconcile import reconcile_build, require_agreement
from penguinmails.olap.semantic_layer import described_metrics
from penguinmails.stack.clock import utc_now
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

KEPT_SNAPSHOTS = 10
"""Published files kept to go back to, the newest included; beside them the last of each of some days and weeks, because a
live path makes ten files in as many seconds."""
KEPT_DAYS = 7
KEPT_FOR = timedelta(days=28)
"""The last file of a week is kept so long, and none longer but the newest: what was erased since may still be in it."""
INCREMENTS = 500
"""Files built upon a whole one before the next whole one: changed rows stand at the end, out of the order of their keys."""
_PUBLISH = Queries(SQL / "build" / "publish.sql")


@dataclass(frozen=True)
class PublishReport:
    """What a publication did.

    Args:
        number: of the published file; grows by one each time.
        path: of the published file.
        marts: tables and views published.
        rows: rows in all of them.
        size_bytes: of the file.
        days_reconciled: days compared with the operational database before.
        whole: written whole, not built upon the last file.
        as_of: everything committed before this time is in it.
        seconds: how long it took.
    """

    number: int
    path: Path
    marts: int
    rows: int
    size_bytes: int
    days_reconciled: int
    whole: bool
    as_of: datetime
    seconds: float


def publish(
    stores: Stores,
    *,
    clock: Callable[[], datetime] = utc_now,
    wait_seconds: float = WAIT_SECONDS,
    kept_snapshots: int = KEPT_SNAPSHOTS,
    whole: bool = True,
) -> PublishReport:
    """Publishes the marts as the last roll-up left them.

    Args:
        kept_snapshots: newest published files kept to go back to, beside those of days and weeks.
        whole: write the file whole. Otherwise what changed is put into a copy of the last one where that can be: the same
            rows in a tenth of the time, not all of them in the order of their keys.

    Raises:
        NothingPublished: nothing was rolled up yet.
        ReconciliationFailed: the marts disagree with the operational database, or break their declaration.
        SourceUnavailable: the operational database cannot be asked.
        BuildBusy: another process did not finish in time.
    """
    started_at = clock()
    folder = stores.marts_folder
    with one_at_a_time(folder, wait_seconds=wait_seconds), open_build(folder) as build:
        position = build.position()
        if position is None:
            raise NothingPublished("the marts", "have never been rolled up", "Run 'penguinmails marts roll-up'.")
        days: list[date] = [day for (day,) in build.connection.execute(_PUBLISH["touched_days"]).fetchall()]
        number = next_number(folder)
        path = snapshot_path(folder, number)
        unfinished = path.with_suffix(".unfinished")
        base, increments = (None, 0) if whole else _base(build, folder)
        published_at = clock()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reconciliation") as beside:
            reconciliation = beside.submit(reconcile_build, build, stores.oltp_url, days=days)
            if base is None:
                rows = write_whole(build, unfinished, number=number, published_at=published_at)
            else:
                rows = write_changes(build, unfinished, base, number=number, published_at=published_at)
            try:
                require_agreement(reconciliation.result())
            except BaseException:
                unfinished.unlink()
                raise
        size_bytes = unfinished.stat().st_size
        put_in_place(folder, unfinished, path, published_at)
        _remember(build, number, increments)
        clear_away(folder, kept_snapshots, published_at)
        return PublishReport(
            number=number,
            path=path,
            marts=len(MARTS),
            rows=rows,
            size_bytes=size_bytes,
            days_reconciled=len(days),
            whole=base is None,
            as_of=position.mark.as_of,
            seconds=(clock() - started_at).total_seconds(),
        )


def _base(build: Build, folder: Path) -> tuple[Path | None, int]:
    """Returns the file that the next can be built upon, if there is one, and how many were built so by then."""
    row = build.connection.execute(_PUBLISH["published_file"], {"declarations": _declarations()}).fetchone()
    if row is None or row[1] >= INCREMENTS:
        return None, 0
    path = snapshot_path(folder, row[0])
    return (path, row[1] + 1) if path.exists() else (None, 0)


def _remember(build: Build, number: int, increments: int) -> None:
    """What changes from here on is counted from this publication. Killed before, the next builds upon the one before it."""
    with build.connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(_PUBLISH["forget_touched_days"])
        for fact in FACTS:
            cursor.execute(_PUBLISH["forget_unpublished"].format(name=fact.name))
        cursor.execute(_PUBLISH["forget_published_file"])
        state = {"number": number, "increments": increments, "declarations": _declarations()}
        cursor.execute(_PUBLISH["remember_published_file"], state)
        cursor.execute("COMMIT")


@cache
def _declarations() -> str:
    """Returns a fingerprint of everything that a file is made by: a file of another release is not built upon."""
    texts = [repr(mart) + mart.sql for mart in MARTS]
    texts += [*map(relation_sql, RELATIONS), *map(repr, described_metrics()), STORAGE_VERSION]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def next_number(folder: Path) -> int:
    """Returns the number of the next publication."""
    existing = snapshots(folder)
    return number_of(existing[-1]) + 1 if existing else 1


def published_at_of(path: Path) -> datetime:
    """Returns when a published file was published: its time of modification, since nothing changes it after."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def put_in_place(folder: Path, unfinished: Path, path: Path, published_at: datetime) -> None:
    """Brings a finished file to disk, gives it its name and time, and leads readers to it."""
    os.utime(unfinished, (published_at.timestamp(), published_at.timestamp()))
    to_disk(unfinished)
    unfinished.rename(path)
    point_to(folder, path)


def point_to(folder: Path, path: Path) -> None:
    """Moves the link in one step: whoever opens it gets the old file or the new one, never none."""
    to_disk(path.parent)
    link = folder / "marts.duckdb.unfinished"
    link.unlink(missing_ok=True)
    link.symlink_to(path.relative_to(folder))
    link.replace(published_path(folder))
    to_disk(folder)


def clear_away(folder: Path, kept: int, now: datetime) -> None:
    """Removes what killed publications left behind, and published files that need not be kept.

    Kept are the newest `kept`, the last of each of the last KEPT_DAYS days and the last of each week; none of them longer
    than KEPT_FOR, but always the newest.
    """
    newest, *others = reversed(snapshots(folder))
    days, weeks = ({step(published_at_of(newest))} for step in (_day, _week))
    for place, path in enumerate(others, start=1):
        published_at = published_at_of(path)
        last_of_day = _day(published_at) not in days and published_at > now - timedelta(days=KEPT_DAYS)
        last_of_week = _week(published_at) not in weeks
        days.add(_day(published_at))
        weeks.add(_week(published_at))
        if published_at < now - KEPT_FOR or not (place < kept or last_of_day or last_of_week):
            path.unlink()
    for path in (folder / "snapshots").glob("*.unfinished*"):
        path.unlink()


def _day(moment: datetime) -> date:
    return moment.date()


def _week(moment: datetime) -> date:
    return moment.date() - timedelta(days=moment.weekday())
