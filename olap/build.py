"""The private build file: everything read, the facts made of it, and the position, in one DuckDB database.

Belongs here: opening it, its tables, its position. Does not belong here: how rows get in (apply.py). Only the process
that holds the lock (lock.py) opens the build; readers have the published marts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from string import Template

import duckdb

from penguinmails.olap.disk import written_behind
from penguinmails.olap.errors import StorageFailed
from penguinmails.olap.extraction import Mark
from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.sources import SOURCES
from penguinmails.stack.sql import Queries

SQL = Path(__file__).parent / "sql"
MEMORY_LIMIT = "2GB"
"""What DuckDB may use; beyond it, it goes to disk."""
_SCHEMA = Queries(SQL / "build" / "schema.sql")
_APPLY = Queries(SQL / "build" / "apply.sql")
_TABLE = Template("CREATE TABLE $name ($columns)")
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET enable_progress_bar = false",
    "SET preserve_insertion_order = false",
    # Nothing may be downloaded behind anybody's back.
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
)


@dataclass(frozen=True)
class Position:
    """How far the build has come."""

    batch: int
    mark: Mark


class Build:
    """The open build file. `connection` is the connection of its one writer."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def position(self) -> Position | None:
        """Returns how far the build has come; None when it is empty."""
        row = self.connection.execute(
            "SELECT batch, snapshot, system_identifier, timeline, as_of FROM position"
        ).fetchone()
        if row is None:
            return None
        batch, snapshot, system_identifier, timeline, as_of = row
        return Position(batch, Mark(snapshot, system_identifier, timeline, as_of.replace(tzinfo=UTC)))

    def made_by_these_definitions(self) -> bool:
        """True unless the facts in the file were made by other SELECTs than those of this release."""
        row = self.connection.execute("SELECT definitions FROM position").fetchone()
        return row is None or row[0] == definitions()

    def empty(self) -> None:
        """Drops everything, in one transaction; the next roll-up makes it anew from the landing zone."""
        with self.connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall():
                cursor.execute(f'DROP TABLE "{name}"')
            _make_tables(cursor)
            cursor.execute("COMMIT")


@contextmanager
def open_build(folder: Path) -> Iterator[Build]:
    """Opens the build of `folder`, making it when it is not there. Only under the lock.

    Raises:
        StorageFailed: it, or anything that is done while it is open, fails for want of room, right or a sound file.
    """
    with _typed_errors(folder):
        place = folder / "build"
        place.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(
            build_path(folder), config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(place / "spill")}
        ) as connection:
            for setting in _SETTINGS:
                connection.execute(setting)
            build = Build(connection)
            if connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'position'").fetchone() is None:
                build.empty()
            with written_behind(build_path(folder)):
                yield build


@contextmanager
def _typed_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (
        duckdb.IOException,
        duckdb.SerializationException,
        duckdb.FatalException,
        duckdb.OutOfMemoryException,
    ) as error:
        raise StorageFailed(
            f"build file in {folder}",
            f"cannot be read or written ({str(error).splitlines()[0]})",
            "Make room or give the right to write; when the file is damaged, run 'penguinmails marts rebuild'.",
        ) from error
    except OSError as error:
        raise StorageFailed(
            f"folder {folder}",
            f"cannot be written ({error.strerror or type(error).__name__})",
            "Make room or give the right to write, then run again; what was published stays.",
        ) from error


def remove_build(folder: Path) -> None:
    """Removes the build file, damaged or not; the next roll-up makes it anew from the landing zone. Only under the lock."""
    for path in (build_path(folder), build_path(folder).with_suffix(".duckdb.wal")):
        path.unlink(missing_ok=True)


def build_path(folder: Path) -> Path:
    """Returns the build file of a marts folder."""
    return folder / "build" / "build.duckdb"


def set_position(connection: duckdb.DuckDBPyConnection, batch: int, mark: Mark) -> None:
    """Sets how far the build has come, within the caller's transaction."""
    connection.execute(_APPLY["forget_position"])
    connection.execute(
        _APPLY["set_position"],
        {
            "batch": batch,
            "snapshot": mark.snapshot,
            "system_identifier": mark.system_identifier,
            "timeline": mark.timeline,
            "as_of": mark.as_of.astimezone(UTC).replace(tzinfo=None),
            "definitions": definitions(),
        },
    )


def definitions() -> str:
    """Returns a fingerprint of everything that determines the facts: columns read, SELECTs, tables."""
    texts = [source.fingerprint for source in SOURCES]
    texts += [fact_select(path.stem) for path in sorted((SQL / "facts").glob("*.sql"))]
    texts += [*_SCHEMA.values(), *(columns for _, columns in _declared_tables())]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _make_tables(cursor: duckdb.DuckDBPyConnection) -> None:
    for statement in _SCHEMA.values():
        cursor.execute(statement)
    for name, columns in _declared_tables():
        cursor.execute(_TABLE.substitute(name=name, columns=columns))


def _declared_tables() -> Iterator[tuple[str, str]]:
    for source in SOURCES:
        columns = (f"{column.name} {column.type}{_not_null(column.name in source.key)}" for column in source.columns)
        yield source.table, ", ".join(columns)
    for fact in FACTS:
        columns = (f"{column.name} {column.type}{_not_null(not column.nullable)}" for column in fact.columns)
        yield fact.name, ", ".join(columns)
        keys = (f"{column.name} {column.type}" for column in fact.columns if column.name in fact.key)
        yield f"unpublished_{fact.name}", ", ".join(keys)


def _not_null(required: bool) -> str:
    return " NOT NULL" if required else ""
