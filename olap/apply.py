"""Bringing one landed batch into the build, by signed differences.

The SELECTs (sql/facts/) are those that make everything anew (rebuilding.py), over relations of the same names:
`events_in_scope` and `messages_in_scope` are everything there and the touched messages here. A batch goes in as one
transaction together with the position, so that a killed process leaves the build as it was before or after it.

Belongs here: that. Does not belong here: where batches come from (roll_up.py, landing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from pathlib import Path

import duckdb

from penguinmails.olap.build import SQL, Build, set_position
from penguinmails.olap.declarations import Mart
from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.landing import Manifest
from penguinmails.olap.rebuilding import replace, typed_columns
from penguinmails.olap.sources import (
    EMAIL_EVENTS,
    EMAIL_MESSAGES,
    FOLLOWED,
    REFERENCES,
    SOURCES,
    TENANTS,
    ReadMode,
    Source,
)
from penguinmails.stack.sql import Queries

_APPLY = Queries(SQL / "build" / "apply.sql")
_PUBLISH = Queries(SQL / "build" / "publish.sql")
_OF_A_TENANT = ("message_facts", "quarantined_events", *(fact.name for fact in FACTS), *(s.table for s in FOLLOWED))


def apply_batch(build: Build, manifest: Manifest, files: Mapping[str, Sequence[Path]]) -> int:
    """Brings a batch into the build and returns how many rows of the logs and of messages were news.

    Args:
        manifest: of the batch that follows the build's position; not of a base, of which all is made anew.
        files: by table, the batch's Parquet files on this machine.
    """
    with build.connection.cursor() as cursor:  # a cursor of its own: its temporary tables go with it
        cursor.execute("BEGIN")
        for source in SOURCES:
            if source.mode is ReadMode.WHOLE and source.table in manifest.sources:
                _note_removed(cursor, source, files[source.table])
                replace(cursor, source, files[source.table])
        _remove_tenants(cursor, manifest)
        news = _apply_changes(cursor, manifest, files)
        set_position(cursor, manifest.batch, manifest.mark)
        cursor.execute("COMMIT")
    return news


def _apply_changes(cursor: duckdb.DuckDBPyConnection, manifest: Manifest, files: Mapping[str, Sequence[Path]]) -> int:
    for source in FOLLOWED:
        _bring_changes(cursor, source, files.get(source.table, ()))
    _clear_references(cursor, manifest)
    _note_gone_events(cursor, manifest, files.get(EMAIL_EVENTS.table, ()))
    news = {source: _count(cursor, f"changed_{source.table}") for source in FOLLOWED}
    facts_change = news[EMAIL_EVENTS] + news[EMAIL_MESSAGES] + _count(cursor, "gone_events") > 0
    if facts_change:
        cursor.execute(_APPLY["touched_messages"])
        cursor.execute(_APPLY["remember_touched_days"])
        cursor.execute(_APPLY["delete_gone_events"])
    for source, rows in news.items():
        if rows:
            _put_changes(cursor, source)
    if facts_change:
        _apply_differences(cursor)
    return sum(news.values())


def _note_removed(cursor: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path]) -> None:
    if source is not TENANTS and source not in REFERENCES.values():
        return
    names = _names(source)
    if files:
        names["typed_key"] = ", ".join(f"CAST({name} AS UUID) AS {name}" for name in source.key)
        cursor.execute(_APPLY["removed"].format(**names), {"files": [str(path) for path in files]})
    else:
        cursor.execute(_APPLY["removed_all"].format(**names))


def _remove_tenants(cursor: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    if TENANTS.table in manifest.sources and _count(cursor, "removed_tenants"):
        for table in _OF_A_TENANT:
            cursor.execute(_APPLY["remove_tenants"].format(table=table))
        cursor.execute(_PUBLISH["forget_published_file"])


def _clear_references(cursor: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    for column, source in REFERENCES.items():
        removed = f"removed_{source.table}"
        if source.table not in manifest.sources or not _count(cursor, removed):
            continue
        cleared = ", ".join("NULL" if part.name == column else part.name for part in EMAIL_MESSAGES.columns)
        cursor.execute(_APPLY["clear_reference"].format(column=column, removed=removed))
        cursor.execute(
            _APPLY["messages_that_lose_a_reference"].format(column=column, removed=removed, cleared_columns=cleared)
        )


def _note_gone_events(cursor: duckdb.DuckDBPyConnection, manifest: Manifest, files: Sequence[Path]) -> None:
    landed = manifest.sources.get(EMAIL_EVENTS.table)
    if landed is None or landed.days is None:
        cursor.execute(_APPLY["no_events_gone"])
        return
    bounds = {
        "from_time": datetime.combine(landed.days.first, time()),
        "to_time": datetime.combine(landed.days.after, time()),
    }
    if files:
        cursor.execute(_APPLY["gone_events"], {"files": [str(path) for path in files], **bounds})
    else:
        cursor.execute(_APPLY["all_events_gone"], bounds)


def _apply_differences(cursor: duckdb.DuckDBPyConnection) -> None:
    cursor.execute(_APPLY["touched_events_in_scope"])
    cursor.execute(_APPLY["touched_messages_in_scope"])
    cursor.execute(_APPLY["examined_events"].format(select=fact_select("examined_events")))
    cursor.execute(_APPLY["delete_touched_quarantine"])
    cursor.execute(_APPLY["insert_quarantine"].format(select=fact_select("quarantined_events")))
    cursor.execute(_APPLY["differences"].format(select=fact_select("message_facts")))
    cursor.execute(_APPLY["delete_touched_facts"])
    cursor.execute(_APPLY["insert_touched_facts"])
    cursor.execute(_APPLY["first_touches"].format(select=fact_select("first_touches")))
    for fact in FACTS:
        _apply_difference(cursor, fact)


def _apply_difference(cursor: duckdb.DuckDBPyConnection, fact: Mart) -> None:
    names = {
        "table": fact.name,
        "columns": ", ".join(fact.column_names),
        "key": ", ".join(fact.key),
        "columns_of_fact": ", ".join(f"fact.{name}" for name in fact.column_names),
        "same_key": fact.same_key("fact", "difference"),
        "sums": ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in fact.measures),
        "anything": " OR ".join(f"SUM({name}) <> 0" for name in fact.measures),
    }
    cursor.execute(_APPLY["fact_difference"].format(select=fact_select(fact.name)))
    for step in ("fact_concerned", "fact_merged", "fact_delete", "fact_insert", "fact_unpublished"):
        cursor.execute(_APPLY[step].format(**names))


def _bring_changes(cursor: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path]) -> None:
    names = _names(source)
    if files:
        names["typed_columns"] = typed_columns(source, files[:1])
        cursor.execute(_APPLY["changed"].format(**names), {"files": [str(path) for path in files]})
    else:
        cursor.execute(_APPLY["nothing_changed"].format(**names))


def _put_changes(cursor: duckdb.DuckDBPyConnection, source: Source) -> None:
    names = _names(source)
    cursor.execute(_APPLY["delete_changed"].format(**names))
    cursor.execute(_APPLY["insert_changed"].format(**names))


def _names(source: Source) -> dict[str, str]:
    changed = f"changed_{source.table}"
    return {
        "table": source.table,
        "changed": changed,
        "columns": ", ".join(column.name for column in source.columns),
        "key": ", ".join(source.key),
        "same_key": " AND ".join(f"{source.table}.{name} = {changed}.{name}" for name in source.key),
    }


def _count(cursor: duckdb.DuckDBPyConnection, table: str) -> int:
    row = cursor.execute(_APPLY["count"].format(table=table)).fetchone()
    return int(row[0]) if row else 0
