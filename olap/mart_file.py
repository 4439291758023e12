"""The file that readers get: written whole, or as a copy of the last one into which only what changed is put.

A whole file of ten million events takes ten seconds to write, of which almost all goes into rows that are in the last file
already; the live path cannot wait for them. Both ways give the same rows; tests compare both with PostgreSQL's own answer.

Belongs here: writing and checking one file. Does not belong here: which file is published and when (publishing.py), what
is in the marts (marts.py, sql/).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from penguinmails.olap.build import SQL, Build
from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Following, Kind, Mart
from penguinmails.olap.disk import written_behind
from penguinmails.olap.errors import ReconciliationFailed
from penguinmails.olap.facts import FACTS
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.semantic_layer import DescribedMetric, described_metrics
from penguinmails.stack.sql import Queries

STORAGE_VERSION = "v1.0.0"
"""DuckDB 2.0 writes files that nothing older opens; this version every DuckDB since 1.0 and the tools built on it open."""
_FILE = Queries(SQL / "build" / "mart_file.sql")
_TABLES = tuple(mart for mart in MARTS if mart.kind is not Kind.VIEW)


def write_whole(build: Build, path: Path, *, number: int, published_at: datetime) -> int:
    """Writes all marts into a new file at `path`; returns the number of rows in it.

    Raises:
        ReconciliationFailed: a mart breaks its declaration.
    """
    with _open(build.connection, path) as cursor, written_behind(path):
        _define_marts(cursor)
        return _write_whole(cursor, number, published_at)


def write_computed(connection: duckdb.DuckDBPyConnection, path: Path, *, number: int, published_at: datetime) -> int:
    """Writes the same file from marts that stand in `connection` already, under their names, beside `position`.

    Raises:
        ReconciliationFailed: a mart breaks its declaration.
    """
    with _open(connection, path) as cursor, written_behind(path):
        return _write_whole(cursor, number, published_at)


def write_changes(build: Build, path: Path, base: Path, *, number: int, published_at: datetime) -> int:
    """Writes at `path` what `write_whole` would, from the published file `base` that the build's changes are counted from.

    Raises:
        ReconciliationFailed: a mart breaks its declaration.
    """
    with _open(build.connection, path, base) as cursor:
        _define_marts(cursor)
        for mart in _TABLES:
            if mart in FACTS:
                _change_fact(cursor, mart)
            elif mart.following is not None:
                _change_following(cursor, mart, mart.following)
            else:
                cursor.execute(_FILE["empty"].format(name=mart.name))
                _fill(cursor, mart)
                _require_all_distinct(cursor, mart)
        return _describe_content(cursor, number, published_at)


@contextmanager
def _open(
    connection: duckdb.DuckDBPyConnection, path: Path, base: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attaches the file, new or a copy of `base`, for one transaction on it."""
    _clear(path)
    if base is not None:
        shutil.copyfile(base, path)
    with connection.cursor() as cursor:
        cursor.execute(_FILE["attach"].format(path=_literal(str(path)), storage_version=_literal(STORAGE_VERSION)))
        try:
            cursor.execute("BEGIN")
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.execute(_FILE["detach"])


def _define_marts(cursor: duckdb.DuckDBPyConnection) -> None:
    """Defines every derived mart by its name over what the build holds."""
    for name in RELATIONS:
        cursor.execute(_FILE["mart"].format(name=name, select=relation_sql(name)))
    for mart in MARTS:
        if mart.kind is not Kind.FACT:
            cursor.execute(_FILE["mart"].format(name=mart.name, select=mart.sql))


def _write_whole(cursor: duckdb.DuckDBPyConnection, number: int, published_at: datetime) -> int:
    cursor.execute(_FILE["meta_table"])
    cursor.execute(_FILE["mart_table"])
    cursor.execute(_FILE["quarantine_table"])
    cursor.execute(_FILE["metric_table"])
    cursor.executemany(_FILE["fill_metrics"], [_row_of(metric) for metric in described_metrics()])
    for mart in MARTS:
        _create(cursor, mart)
        if mart.kind is not Kind.VIEW:
            _fill(cursor, mart)
            _require_all_distinct(cursor, mart)
    cursor.execute(_FILE["freshness_view"])
    return _describe_content(cursor, number, published_at)


def _create(cursor: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    if mart.kind is Kind.VIEW:
        cursor.execute(_FILE["create_view"].format(name=mart.name, select=mart.sql))
    else:
        columns = ", ".join(f"{column.name} {column.type}{_not_null(column)}" for column in mart.columns)
        cursor.execute(_FILE["create_table"].format(name=mart.name, columns=columns))
    object_type = "VIEW" if mart.kind is Kind.VIEW else "TABLE"
    cursor.execute(_FILE["comment"].format(type=object_type, name=mart.name, comment=_literal(_described(mart))))
    for column in mart.columns:
        comment = _literal(column.comment)
        cursor.execute(_FILE["comment_on_column"].format(name=mart.name, column=column.name, comment=comment))


def _fill(cursor: duckdb.DuckDBPyConnection, mart: Mart, what: str = "fill") -> None:
    names = {"name": mart.name, "names": ", ".join(mart.column_names), "key": ", ".join(mart.key)}
    try:
        cursor.execute(_FILE[what].format(**names, same_key=mart.same_key("fact", "touched")))
    except duckdb.ConstraintException as error:
        raise _broken(mart, "has an empty value in a column that must have one") from error


def _change_fact(cursor: duckdb.DuckDBPyConnection, fact: Mart) -> None:
    """Rows of the keys that were touched since the base was published are taken out and put in anew."""
    cursor.execute(_FILE["delete_touched"].format(name=fact.name, same_key=fact.same_key("fact", "touched")))
    _fill(cursor, fact, "fill_touched")
    _require_distinct(cursor, fact, "duplicate_touched_keys")


def _change_following(cursor: duckdb.DuckDBPyConnection, mart: Mart, following: Following) -> None:
    """Rows whose fact was touched are made anew; in the others only what does not come from the fact can have changed."""
    names = {
        "name": mart.name,
        "fact": following.fact,
        "same_key": " AND ".join(f"mart.{name} = touched.{name}" for name in mart.key),
        "same_key_of_fact": " AND ".join(f"fact.{name} = touched.{name}" for name in mart.key),
        "states": following.states,
        "same_state_key": " AND ".join(f"mart.{name} = state.{name}" for name in following.state_key),
        "assignments": ", ".join(f"{name} = state.{name}" for name in following.state_columns),
        "differs": " OR ".join(f"mart.{name} IS DISTINCT FROM state.{name}" for name in following.state_columns),
    }
    cursor.execute(_FILE["touched_scope"].format(**names))
    cursor.execute(_FILE["delete_following"].format(**names))
    _fill(cursor, mart)
    cursor.execute(_FILE["whole_scope"].format(**names))
    cursor.execute(_FILE["change_states"].format(**names))
    cursor.execute(_FILE["change_updated"].format(**names))
    _require_all_distinct(cursor, mart)


def _describe_content(cursor: duckdb.DuckDBPyConnection, number: int, published_at: datetime) -> int:
    for table in ("_meta", "_marts", "quarantine_summary"):
        cursor.execute(_FILE["empty"].format(name=table))
    moment = published_at.astimezone(UTC).replace(tzinfo=None)
    cursor.execute(_FILE["fill_meta"], {"number": number, "published_at": moment})
    cursor.execute(_FILE["fill_quarantine"])
    for mart in MARTS:
        described = {"mart": mart.name, "grain": mart.grain, "description": mart.description}
        query = "fill_mart_of_view" if mart.kind is Kind.VIEW else "fill_mart"
        cursor.execute(_FILE[query].format(name=mart.name), described)
    return sum(_one(cursor, _FILE["count"].format(name=mart.name)) for mart in _TABLES)


def _require_all_distinct(cursor: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    if _one(cursor, _FILE["repeated_hashes"].format(name=mart.name, key=", ".join(mart.key))):
        _require_distinct(cursor, mart, "duplicate_keys")


def _require_distinct(cursor: duckdb.DuckDBPyConnection, mart: Mart, query: str) -> None:
    names = {"name": mart.name, "key": ", ".join(mart.key), "same_key": mart.same_key("fact", "touched")}
    duplicates = _one(cursor, _FILE[query].format(**names))
    if duplicates:
        raise _broken(mart, f"has {duplicates} keys more than once")


def _clear(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)


def _row_of(metric: DescribedMetric) -> list[object]:
    rate = [metric.formula, metric.numerator, metric.denominator, metric.unit]
    return [metric.name, *rate, list(metric.grains), list(metric.marts), metric.description]


def _described(mart: Mart) -> str:
    return f"{mart.description} One row: {mart.grain}."


def _not_null(column: Column) -> str:
    return "" if column.nullable else " NOT NULL"


def _broken(mart: Mart, problem: str) -> ReconciliationFailed:
    return ReconciliationFailed(
        f"mart {mart.name}", problem, "Nothing was published. Run 'penguinmails marts rebuild'; if it stays, report it."
    )


def _one(cursor: duckdb.DuckDBPyConnection, statement: str) -> int:
    row = cursor.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
