"""How the published marts are read: read-only, never blocked, always the newest file.

`marts.duckdb` is a symbolic link to the newest of the files in `snapshots/`; publishing changes where it points.
Belongs here: finding and opening that file. Does not belong here: making it (publishing.py).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from penguinmails.olap.errors import NothingPublished
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_ATTEMPTS = 5


def published_path(folder: Path) -> Path:
    """Returns the path that always leads to the newest marts; what BI tools and DuckDB's own command open."""
    return folder / "marts.duckdb"


def newest_snapshot(folder: Path) -> Path:
    """Returns the file that holds the newest marts.

    Raises:
        NothingPublished: there is none yet.
    """
    try:
        return folder / published_path(folder).readlink()
    except FileNotFoundError:
        raise NothingPublished(
            "the marts",
            "have not been published yet",
            "Run 'penguinmails marts roll-up' and 'penguinmails marts publish'.",
        ) from None


def snapshot_path(folder: Path, number: int) -> Path:
    """Returns where the published file of that number is or would be."""
    return folder / "snapshots" / f"marts-{number:08d}.duckdb"


def snapshots(folder: Path) -> list[Path]:
    """Returns the kept published files, oldest first."""
    return sorted((folder / "snapshots").glob("marts-*.duckdb"))


def number_of(path: Path) -> int:
    """Returns the number of a published file."""
    return int(path.stem.removeprefix("marts-"))


def kept_snapshot(folder: Path, number: int) -> Path:
    """Returns the published file of that number.

    Raises:
        InputError: it is not kept any more.
    """
    path = snapshot_path(folder, number)
    if not path.exists():
        kept = ", ".join(str(number_of(found)) for found in snapshots(folder)) or "none"
        raise InputError(f"publication {number}", "is not kept", f"Kept publications: {kept}.")
    return path


def open_marts(stores: Stores, number: int | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a read-only connection to the newest published marts, or to an earlier publication.

    It keeps the state it opened, whatever is published later. Every publication has a file name of its own, so that
    DuckDB, which shares one instance a path within a process, never answers from an older file.

    Args:
        number: of a kept publication; None for the newest.

    Raises:
        NothingPublished: nothing was published yet.
        InputError: that publication is not kept.
    """
    folder = stores.marts_folder
    for attempt in range(_ATTEMPTS):
        path = newest_snapshot(folder) if number is None else kept_snapshot(folder, number)
        try:
            connection = duckdb.connect(path, read_only=True)
        except duckdb.IOException:
            # Between reading the link and opening, so many publications went by that the file was cleared away.
            if path.exists() or attempt + 1 == _ATTEMPTS:
                raise
            continue
        connection.execute("SET TimeZone = 'UTC'")
        return connection
    raise AssertionError("unreachable")
