"""Reading the operational database: all tables in one snapshot, only what changed, as streams of Arrow batches.

Belongs here: the transaction, the guards against reading another history, the queries. Does not belong here: where the
batches go (landing.py) and which columns there are (sources.py).

Why snapshots: with cursors on max(id) or max(ingested_at), rows committed late with an early value are lost (6.8 % of
them with twelve writers). The difference of two snapshots loses none and repeats none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa
from psycopg import sql
from pydantic import SecretStr

from penguinmails.olap.errors import BuildBusy, CursorUnusable, SourceUnavailable
from penguinmails.olap.sources import ReadMode, Source
from penguinmails.stack.sql import Queries

_QUERIES = Queries(Path(__file__).parent / "sql" / "postgresql" / "extraction.sql")


@dataclass(frozen=True)
class Mark:
    """A moment of one database's history.

    Args:
        snapshot: PostgreSQL's `pg_snapshot` text: which transactions are part of it.
        system_identifier: of the database cluster.
        timeline: of its history; a failover or a restore begins a new one.
        as_of: everything committed before this time is part of it.
    """

    snapshot: str
    system_identifier: str
    timeline: int
    as_of: datetime


@dataclass(frozen=True)
class Days:
    """UTC days from `first` up to and without `after`."""

    first: date
    after: date


class Extraction:
    """One open transaction on the operational database."""

    def __init__(self, cursor: Any, mark: Mark) -> None:
        self._cursor = cursor
        self.mark = mark

    def compare_with(self, previous: Mark) -> None:
        """Makes the changes since `previous` readable.

        Raises:
            CursorUnusable: this is another database, or a state of it in which `previous` never was.
        """
        remedy = (
            "Check which database PENGUINMAILS_OLTP_URL names; when it is right, "
            "run 'penguinmails marts rebuild --from-database'."
        )
        if self.mark.system_identifier != previous.system_identifier:
            raise CursorUnusable("the operational database", "is not the one that the last batch was read from", remedy)
        if self.mark.timeline != previous.timeline:
            raise CursorUnusable(
                "the operational database",
                f"is on timeline {self.mark.timeline}, the last batch was read from {previous.timeline}: "
                "after a failover or a restore, transactions read before may never have happened",
                remedy,
            )
        self._cursor.execute(_QUERIES["remember_previous"], (previous.snapshot,))
        self._cursor.fetchall()
        self._cursor.execute(_QUERIES["snapshot_bounds"])
        previous_xmax, current_xmax = self._cursor.fetchone()
        if previous_xmax > current_xmax:
            raise CursorUnusable(
                "the operational database",
                f"knows transactions up to {current_xmax}, the last batch was read at {previous_xmax}: history was lost",
                remedy,
            )

    def batches(self, source: Source, *, changes: bool, days: Days | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of `source` in the types of its declaration, a bounded batch at a time.

        Args:
            changes: only rows that the snapshot given to `compare_with` did not see; ignored for tables read whole.
            days: with `changes`, all rows that occurred on these days as well.
        """
        with _typed_errors(f"table {source.table} of the operational database"):
            self._cursor.execute(_QUERIES["become"].format(role=source.role))
            if days is not None:
                self._cursor.execute(_QUERIES["remember_days"], (f"{days.first}T00:00Z", f"{days.after}T00:00Z"))
                self._cursor.fetchall()
            self._cursor.execute(_statement(source, changes=changes, with_days=days is not None))
            for batch in self._cursor.fetch_record_batch():
                yield _as_declared(batch, source)


@contextmanager
def open_extraction(url: SecretStr) -> Iterator[Extraction]:
    """Opens the one transaction of a run.

    Raises:
        SourceUnavailable: the database does not answer or refuses.
        BuildBusy: another machine is extracting from it.
    """
    with _typed_errors(), adbc_driver_postgresql.dbapi.connect(url.get_secret_value(), autocommit=False) as connection:
        with connection.cursor() as cursor:
            cursor.execute(_QUERIES["begin"])
            cursor.execute(_QUERIES["become"].format(role="pm_reader"))
            cursor.execute(_QUERIES["no_statement_timeout"])
            cursor.execute(_QUERIES["exclusive"])
            if not cursor.fetchone()[0]:
                raise BuildBusy("the marts", "are being extracted on another machine", "Wait for it, then run again.")
            cursor.execute(_QUERIES["mark"])
            yield Extraction(cursor, Mark(*cursor.fetchone()))
        connection.rollback()


def _statement(source: Source, *, changes: bool, with_days: bool = False) -> str:
    if source.mode is ReadMode.WHOLE:
        name = "whole"
    elif not changes:
        name = "first"
    else:
        name = "changes_and_days" if with_days else "changes"
    columns = [
        sql.SQL("{} AS {}").format(
            sql.SQL(column.expression) if column.expression else sql.Identifier(column.name),
            sql.Identifier(column.name),
        )
        for column in source.columns
    ]
    return (
        sql.SQL(_QUERIES[name])
        .format(
            columns=sql.SQL(", ").join(columns),
            table=sql.Identifier(source.table),
            only=sql.SQL(source.only),
            key=sql.SQL(", ").join(sql.Identifier(name) for name in source.key),
        )
        .as_string()
    )


def _as_declared(batch: pa.RecordBatch, source: Source) -> pa.RecordBatch:
    columns = [
        (found.storage if isinstance(found, pa.ExtensionArray) else found).cast(column.type.arrow)
        for column, found in zip(source.columns, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=source.arrow_schema)


@contextmanager
def _typed_errors(thing: str = "the operational database") -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        # The driver's text may hold the address or a row; the state says what people need.
        state = f"SQLSTATE {error.sqlstate}" if error.sqlstate else error.status_code.name
        raise SourceUnavailable(
            thing,
            f"cannot be read ({state})",
            "Run 'penguinmails doctor', then run again; nothing was changed.",
        ) from None
