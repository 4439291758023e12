"""Answers of `penguinmails sql`: one read-only statement on the published marts, shown or written as a stream.

Belongs here: refusing what is not a question, and the forms an answer takes. Does not belong here: options (cli.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.table import Table
from rich.text import Text

from penguinmails.olap.errors import StatementRefused
from penguinmails.olap.reading import open_marts
from penguinmails.stack.console import console, notes
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_QUESTIONS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_ENDINGS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
_BATCH_ROWS = 10_000
_WIDER_THAN_ANY_SCREEN = 100_000


def form_of(form: str | None, output: Path | None) -> str:
    """Returns the form of an answer: as asked for, by the ending of the file, or a table for the screen.

    Raises:
        InputError: a file whose ending says no form, or a table for a file.
    """
    if output is None:
        if form == "parquet":
            raise InputError("--format parquet", "needs a file", "Give --output FILE.")
        return form or "table"
    found = form or _ENDINGS.get(output.suffix.lower())
    if found is None or found == "table":
        raise InputError(str(output), "is a file of no form we write", "Give --format csv, json or parquet.")
    return found


@contextmanager
def ask(stores: Stores, statement: str, *, publication: int | None = None) -> Iterator[pa.RecordBatchReader]:
    """Runs one question on the published marts.

    Args:
        publication: number of a kept publication; None for the newest.

    Raises:
        StatementRefused: it is not exactly one question, or DuckDB cannot run it.
        NothingPublished: nothing was published yet.
        InputError: that publication is not kept.
    """
    with open_marts(stores, publication) as connection:
        try:
            parsed = connection.extract_statements(statement)
            if len(parsed) != 1 or parsed[0].type not in _QUESTIONS:
                raise StatementRefused("the statement", "is not one question", "Give one SELECT; marts are read-only.")
            answer = connection.sql(statement).to_arrow_reader(_BATCH_ROWS)
            try:
                yield answer
            finally:
                # What is read half would keep DuckDB's instance of the file, and the next connection would wait for its end.
                answer.close()
        except duckdb.Error as error:
            raise StatementRefused(
                "the statement", str(error).rstrip(". "), "Correct it; 'penguinmails marts list' shows the marts."
            ) from None


def show(answer: pa.RecordBatchReader, rows: int) -> None:
    """Prints the first `rows` rows: as a table, or one below the other where they are too wide for the screen."""
    table = Table(*answer.schema.names)
    for column, field in zip(table.columns, answer.schema, strict=True):
        column.justify = "right" if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) else "left"
    found = list(islice(_rows(answer), rows + 1))
    shown = [[Text("" if value is None else str(value)) for value in row.values()] for row in found[:rows]]
    for cells in shown:
        table.add_row(*cells)
    wanted = console.measure(table, options=console.options.update(max_width=_WIDER_THAN_ANY_SCREEN))
    if wanted.maximum <= console.width or not shown:
        console.print(table)
    else:
        for number, cells in enumerate(shown, 1):
            record = Table.grid("", "", padding=(0, 2))
            for name, cell in zip(answer.schema.names, cells, strict=True):
                record.add_row(Text(name, style="bold"), cell)
            console.rule(f"row {number:,}", align="left")
            console.print(record)
    if len(found) > rows:
        notes.print(f"Only the first {rows:,} rows; more with --rows or --output.")


def write(answer: pa.RecordBatchReader, form: str, output: Path | None) -> int:
    """Writes all rows as csv, json or parquet; a file appears whole or not at all. Returns the number of rows.

    Raises:
        InputError: the file cannot be written.
    """
    if output is None:
        return _WRITERS[form](answer, sys.stdout.buffer)
    unfinished = output.with_name(output.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            written = _WRITERS[form](answer, file)
        unfinished.replace(output)
    except OSError as error:
        raise InputError(str(output), f"cannot be written ({error.strerror})", "Give another --output.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return written


def _write_csv(answer: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    with pyarrow.csv.CSVWriter(file, answer.schema) as writer:
        for batch in answer:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_json(answer: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    file.write(b"[")
    for row in _rows(answer):
        file.write(b",\n " if rows else b"\n ")
        file.write(orjson.dumps(row, default=_plain, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z))
        rows += 1
    file.write(b"\n]\n")
    return rows


def _write_parquet(answer: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    with pyarrow.parquet.ParquetWriter(file, answer.schema, compression="zstd") as writer:
        for batch in answer:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


_WRITERS = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}


def _rows(answer: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    for batch in answer:
        yield from batch.to_pylist()


def _plain(value: object) -> object:
    """JSON knows one kind of number; DuckDB's sums of integers arrive as decimals."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)
