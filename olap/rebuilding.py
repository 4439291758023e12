"""Making everything anew out of the landing zone: a base batch and all that follow it, at once and not one after the other.

What differs from applying the batches in turn is the time only: of every row the newest version is taken in once, and the
facts are made once, by the SELECTs that batches are applied with (sql/facts/).

Belongs here: which landed rows still hold, and the order in which all is made of them. Does not belong here: bringing one batch
into facts that are there (apply.py), engines other than DuckDB (engines.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from penguinmails.olap.build import SQL, Build, set_position
from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.landing import Manifest
from penguinmails.olap.sources import EMAIL_EVENTS, FOLLOWED, REFERENCES, SOURCES, TENANTS, ReadMode, Source
from penguinmails.stack.sql import Queries

Files = Mapping[str, Mapping[int, Sequence[Path]]]
"""By table and batch: the Parquet files on this machine."""
_PUBLISH = Queries(SQL / "build" / "publish.sql")
_REBUILD = Queries(SQL / "build" / "rebuild.sql")


def rebuild_from_landing(build: Build, manifests: Sequence[Manifest], files: Files) -> int:
    """Makes the build anew, in one transaction, and returns how many events and messages there are.

    Args:
        manifests: of a base batch and those that follow it, in order.
        files: of these batches.
    """
    with build.connection.cursor() as cursor:  # a cursor of its own: its temporary tables go with it
        cursor.execute("BEGIN")
        for source in SOURCES:
            landed = files.get(source.table, {})
            newest = landed[max(landed)] if landed and source.mode is ReadMode.WHOLE else ()
            replace(cursor, source, newest)
        _note_removed_tenants(cursor, files.get(TENANTS.table, {}))
        for source in FOLLOWED:
            _take_in(cursor, source, manifests, files.get(source.table, {}))
        if len(manifests) > 1:
            for column, named in REFERENCES.items():
                cursor.execute(_REBUILD["clear_references"].format(column=column, named=named.table))
        _make_facts(cursor)
        cursor.execute(_REBUILD["remember_every_day"])
        set_position(cursor, manifests[-1].batch, manifests[-1].mark)
        rows = sum(_count(cursor, source.table) for source in FOLLOWED)
        cursor.execute("COMMIT")
    return rows


def _make_facts(cursor: duckdb.DuckDBPyConnection) -> None:
    cursor.execute(_PUBLISH["forget_published_file"])
    for table in ("message_facts", "quarantined_events", *(fact.name for fact in FACTS)):
        cursor.execute(_REBUILD["empty"].format(table=table))
    cursor.execute(_REBUILD["events_in_scope"])
    cursor.execute(_REBUILD["messages_in_scope"])
    cursor.execute(_REBUILD["examined_events"].format(select=fact_select("examined_events")))
    for table in ("quarantined_events", "message_facts"):
        cursor.execute(_REBUILD["fill_fact"].format(table=table, select=fact_select(table)))
    cursor.execute(_REBUILD["signed_facts"])
    cursor.execute(_REBUILD["first_touches"].format(select=fact_select("first_touches")))
    for fact in FACTS:
        cursor.execute(_REBUILD["fill_fact"].format(table=fact.name, select=fact_select(fact.name)))


def without_replaced_days(manifests: Sequence[Manifest]) -> str:
    """Returns the conditions on `batch` and `occurred_at` by which a day that a later batch holds whole leaves out what
    earlier batches say of it; each begins with AND."""
    conditions = ""
    for manifest in manifests:
        landed = manifest.sources.get(EMAIL_EVENTS.table)
        if landed is not None and landed.days is not None:
            conditions += (
                f"\n    AND NOT (batch < {manifest.batch} AND occurred_at >= CAST('{landed.days.first}' AS TIMESTAMP)"
                f" AND occurred_at < CAST('{landed.days.after}' AS TIMESTAMP))"
            )
    return conditions


def typed_columns(source: Source, files: Sequence[Path]) -> str:
    """Returns the declared columns as they are read from files; a column that none of them has yet is empty."""
    there = {name for path in files for name in pq.read_schema(path).names}
    return ", ".join(
        f"CAST({column.name if column.name in there else 'NULL'} AS {column.type}) AS {column.name}"
        for column in source.columns
    )


def _take_in(
    cursor: duckdb.DuckDBPyConnection,
    source: Source,
    manifests: Sequence[Manifest],
    landed: Mapping[int, Sequence[Path]],
) -> None:
    """Fills a table that is followed by its changes with the newest version of each row."""
    base = manifests[0].batch
    later = [path for batch, paths in landed.items() if batch > base for path in paths]
    replaced = without_replaced_days(manifests) if source is EMAIL_EVENTS else ""
    if len(manifests) == 1:
        replace(cursor, source, landed.get(base, ()))
        return
    names = {
        "table": source.table,
        "columns": ", ".join(column.name for column in source.columns),
        "key": ", ".join(source.key),
        "base": base,
        "replaced_days": replaced,
    }
    if later:
        firsts = [paths[0] for batch, paths in landed.items() if batch > base and paths]
        names["typed_columns"] = typed_columns(source, firsts)
        cursor.execute(_REBUILD["later_rows"].format(**names), {"files": [str(path) for path in later]})
        repeated = cursor.execute(_REBUILD["repeated_hashes"].format(**names)).fetchone()
        if repeated and repeated[0]:
            cursor.execute(_REBUILD["newest_rows"].format(**names))
    else:
        names["typed_columns"] = "NULL"
        cursor.execute(_REBUILD["no_later_rows"].format(**names))
    if first := landed.get(base):
        names["typed_columns"] = typed_columns(source, first[:1])
        cursor.execute(_REBUILD["base_rows"].format(**names), {"files": [str(path) for path in first]})
    cursor.execute(_REBUILD["put_later_rows"].format(**names))


def replace(cursor: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path]) -> None:
    """Fills a table with what one batch holds of it, and nothing else, within the caller's transaction."""
    cursor.execute(_REBUILD["empty"].format(table=source.table))
    if files:
        names = {"table": source.table, "typed_columns": typed_columns(source, files[:1])}
        cursor.execute(_REBUILD["fill"].format(**names), {"files": [str(path) for path in files]})


def _note_removed_tenants(cursor: duckdb.DuckDBPyConnection, landed: Mapping[int, Sequence[Path]]) -> None:
    cursor.execute(_REBUILD["no_removed_tenants"])
    if any(landed.values()):
        files = [str(path) for paths in landed.values() for path in paths]
        cursor.execute(_REBUILD["removed_tenants"], {"files": files, "batches": sorted(landed)})


def _count(cursor: duckdb.DuckDBPyConnection, table: str) -> int:
    row = cursor.execute(_REBUILD["count"].format(table=table)).fetchone()
    return int(row[0]) if row else 0
