"""Compaction of the landing zone: everything known as one new base batch, and the batches before it removed.

This is the landing zone's retention, and how erased persons leave it: the new base holds what the build holds, from which
their references are gone. The build file is then made anew from the base, so that no block of it holds what was deleted, and
it has the size of its content again. Dry run by default where people call it (cli.py).

Belongs here: writing a base from the build, removing what it replaces. Does not belong here: other batches (roll_up.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from penguinmails.olap.build import Build, Position, open_build, remove_build
from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.landing import ROOT, Landing, Manifest
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.roll_up import apply_chain, landing_of
from penguinmails.olap.sources import SOURCES, ColumnType, Source
from penguinmails.stack.stores import Stores

_BATCH_ROWS = 131_072


@dataclass(frozen=True)
class CompactionReport:
    """What a compaction did, or would do.

    Args:
        base: number of the batch from which everything can be made anew.
        rows: rows in it.
        size_bytes: its size.
        objects_removed: objects of batches before it.
        bytes_removed: their size.
    """

    base: int
    rows: int
    size_bytes: int
    objects_removed: int
    bytes_removed: int


def compact(
    stores: Stores,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    wait_seconds: float = WAIT_SECONDS,
) -> CompactionReport:
    """Writes everything known as one base batch, makes the build file anew from it, then removes all batches before it.

    Killed anywhere, it may be run again: a base without its manifest counts for nothing, and removal goes by what the
    newest base makes needless.

    Args:
        dry_run: only say what would be removed.

    Raises:
        NothingPublished: nothing was rolled up yet.
    """
    folder = stores.marts_folder
    with one_at_a_time(folder, wait_seconds=wait_seconds):
        landing = landing_of(stores)
        with open_build(folder) as build:
            if not dry_run:
                apply_chain(build, landing)
            position = build.position()
            if position is None:
                raise NothingPublished("the landing zone", "is empty", "Run 'penguinmails marts roll-up'.")
            if dry_run:
                needless = _before(stores, position.batch + 1)
                return CompactionReport(position.batch + 1, 0, 0, len(needless), sum(needless.values()))
            manifest = _write_base(build, landing, position, progress)
        remove_build(folder)
        with open_build(folder) as anew:
            apply_chain(anew, landing)
        needless = _before(stores, manifest.batch)
        stores.open_bucket().delete(sorted(needless))
        return CompactionReport(
            manifest.batch, manifest.rows, manifest.size_bytes, len(needless), sum(needless.values())
        )


def _write_base(build: Build, landing: Landing, position: Position, progress: Callable[[int], None]) -> Manifest:
    batch = position.batch + 1
    written = {
        source.table: landing.write(
            source, batch, _rows(build, source), whole=True, send_at_once=True, progress=progress
        )
        for source in SOURCES
    }
    manifest = Manifest(
        batch=batch,
        base=batch,
        previous=None,
        mark=position.mark,
        sources=written,
        fingerprints=landing.manifest(position.batch).fingerprints,
        contents={table: landed.content for table, landed in written.items()},
    )
    landing.complete(manifest)
    return manifest


def _rows(build: Build, source: Source) -> Iterator[pa.RecordBatch]:
    columns = ", ".join(
        f"CAST({column.name} AS BLOB) AS {column.name}" if column.type is ColumnType.UUID else column.name
        for column in source.columns
    )
    statement = f"SELECT {columns} FROM {source.table} ORDER BY {', '.join(source.key)}"  # noqa: S608 - declared names
    with build.connection.cursor() as cursor:
        for batch in cursor.sql(statement).to_arrow_reader(_BATCH_ROWS):
            yield batch.cast(source.arrow_schema)


def _before(stores: Stores, batch: int) -> dict[str, int]:
    """Returns the objects of all batches before `batch`, with their sizes; keys are <table>/<batch>/… or manifests/<batch>."""
    found = {}
    for entry in stores.open_bucket().list(f"{ROOT}/"):
        number = entry.key.removeprefix(f"{ROOT}/").split("/")[1].removesuffix(".json")
        if number.isdigit() and int(number) < batch:
            found[entry.key] = entry.size_bytes
    return found
