"""Publishing: the marts as one new file that takes the place of the last by moving a link.

Order: reconcile, write a file under an unfinished name, check it, bring it to disk, give it its name, move the link.
Whatever fails or is killed before the last step leaves readers what they had.

Belongs here: making the file and the kept snapshots. Does not belong here: what is in the marts (marts.py, sql/).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from penguinmails.olap.build import SQL, Build, open_build
from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.errors import NothingPublished, ReconciliationFailed
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.metrics import METRICS, Metric
from penguinmails.olap.reading import published_path
from penguinmails.olap.reconcile import reconcile_build, require_agreement
from penguinmails.stack.clock import utc_now
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

KEPT_SNAPSHOTS = 10
"""Published files kept to go back to, the newest included."""
STORAGE_VERSION = "v1.0.0"
"""DuckDB 2.0 writes files that nothing older opens; this version every DuckDB since 1.0 and the tools built on it open."""
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
        as_of: everything committed before this time is in it.
        seconds: how long it took.
    """

    number: int
    path: Path
    marts: int
    rows: int
    size_bytes: int
    days_reconciled: int
    as_of: datetime
    seconds: float


def publish(
    stores: Stores,
    *,
    clock: Callable[[], datetime] = utc_now,
    wait_seconds: float = WAIT_SECONDS,
    kept_snapshots: int = KEPT_SNAPSHOTS,
) -> PublishReport:
    """Publishes the marts as the last roll-up left them.

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
        require_agreement(reconcile_build(build, stores.oltp_url, days=days))
        number = _next_number(folder)
        path = snapshot_path(folder, number)
        unfinished = path.with_suffix(".unfinished")
        rows = write_marts(build, unfinished, number=number, published_at=clock())
        size_bytes = unfinished.stat().st_size
        _to_disk(unfinished)
        unfinished.rename(path)
        point_to(folder, path)
        build.connection.execute(_PUBLISH["forget_touched_days"])
        _clear_away(folder, kept_snapshots)
        return PublishReport(
            number=number,
            path=path,
            marts=len(MARTS),
            rows=rows,
            size_bytes=size_bytes,
            days_reconciled=len(days),
            as_of=position.mark.as_of,
            seconds=(clock() - started_at).total_seconds(),
        )


def snapshots(folder: Path) -> list[Path]:
    """Returns the kept published files, oldest first."""
    return sorted((folder / "snapshots").glob("marts-*.duckdb"))


def snapshot_path(folder: Path, number: int) -> Path:
    """Returns where the published file of that number is or would be."""
    return folder / "snapshots" / f"marts-{number:08d}.duckdb"


def write_marts(build: Build, path: Path, *, number: int, published_at: datetime) -> int:
    """Writes and checks the file that readers get; returns the number of rows in it.

    Raises:
        ReconciliationFailed: a mart breaks its declaration.
    """
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.with_suffix(".unfinished.wal").unlink(missing_ok=True)
    with build.connection.cursor() as cursor:
        cursor.execute(_PUBLISH["attach"].format(path=_literal(str(path)), storage_version=_literal(STORAGE_VERSION)))
        try:
            cursor.execute("BEGIN")
            cursor.execute(_PUBLISH["meta_table"])
            moment = published_at.astimezone(UTC).replace(tzinfo=None)
            cursor.execute(_PUBLISH["fill_meta"], {"number": number, "published_at": moment})
            cursor.execute(_PUBLISH["mart_table"])
            for name in RELATIONS:
                cursor.execute(_PUBLISH["mart"].format(name=name, select=relation_sql(name)))
            rows = sum(_write_mart(cursor, mart) for mart in MARTS)
            cursor.execute(_PUBLISH["quarantine_table"])
            cursor.execute(_PUBLISH["fill_quarantine"])
            cursor.execute(_PUBLISH["metric_table"])
            cursor.executemany(_PUBLISH["fill_metrics"], [_described_metric(metric) for metric in METRICS])
            cursor.execute(_PUBLISH["freshness_view"])
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.execute(_PUBLISH["detach"])
    return rows


def _write_mart(cursor: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    if mart.kind is not Kind.FACT:
        cursor.execute(_PUBLISH["mart"].format(name=mart.name, select=mart.sql))
    if mart.kind is Kind.VIEW:
        cursor.execute(_PUBLISH["create_view"].format(name=mart.name, select=mart.sql))
    else:
        _write_table(cursor, mart)
    object_type = "VIEW" if mart.kind is Kind.VIEW else "TABLE"
    cursor.execute(_PUBLISH["comment"].format(type=object_type, name=mart.name, comment=_literal(_described(mart))))
    for column in mart.columns:
        comment = _literal(column.comment)
        cursor.execute(_PUBLISH["comment_on_column"].format(name=mart.name, column=column.name, comment=comment))
    described = {"mart": mart.name, "grain": mart.grain, "description": mart.description}
    cursor.execute(_PUBLISH["fill_mart"].format(name=mart.name), described)
    return 0 if mart.kind is Kind.VIEW else _one(cursor, _PUBLISH["count"].format(name=mart.name))


def _write_table(cursor: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    key = ", ".join(mart.key)
    columns = ", ".join(f"{column.name} {column.type}{_not_null(column)}" for column in mart.columns)
    cursor.execute(_PUBLISH["create_table"].format(name=mart.name, columns=columns))
    try:
        names = ", ".join(mart.column_names)
        cursor.execute(_PUBLISH["fill"].format(name=mart.name, names=names, key=key))
    except duckdb.ConstraintException as error:
        raise _broken(mart, "has an empty value in a column that must have one") from error
    duplicates = _one(cursor, _PUBLISH["duplicate_keys"].format(name=mart.name, key=key))
    if duplicates:
        raise _broken(mart, f"has {duplicates} keys more than once")


def _described_metric(metric: Metric) -> list[str]:
    return [metric.name, metric.formula, metric.numerator, metric.denominator, metric.unit, metric.description]


def _described(mart: Mart) -> str:
    return f"{mart.description} One row: {mart.grain}."


def _not_null(column: Column) -> str:
    return "" if column.nullable else " NOT NULL"


def _broken(mart: Mart, problem: str) -> ReconciliationFailed:
    return ReconciliationFailed(
        f"mart {mart.name}", problem, "Nothing was published. Run 'penguinmails marts rebuild'; if it stays, report it."
    )


def _next_number(folder: Path) -> int:
    existing = snapshots(folder)
    return int(existing[-1].stem.removeprefix("marts-")) + 1 if existing else 1


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def point_to(folder: Path, path: Path) -> None:
    """Moves the link in one step: whoever opens it gets the old file or the new one, never none."""
    _to_disk(path.parent)
    link = folder / "marts.duckdb.unfinished"
    link.unlink(missing_ok=True)
    link.symlink_to(path.relative_to(folder))
    link.replace(published_path(folder))
    _to_disk(folder)


def _clear_away(folder: Path, kept: int) -> None:
    for path in snapshots(folder)[:-kept]:
        path.unlink()
    for path in (folder / "snapshots").glob("*.unfinished*"):
        path.unlink()


def _one(cursor: duckdb.DuckDBPyConnection, statement: str) -> int:
    row = cursor.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
