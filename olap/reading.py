"""How the published marts are read: read-only, never blocked, always the newest file.

`marts.duckdb` is a symbolic link to the newest of the files in `snapshots/`; publishing changes where it points.
Belongs here: finding and opening that file. Does not belong here: making it (publishing.py).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from penguinmails.olap.errors import NothingPublished
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


def open_marts(stores: Stores) -> duckdb.DuckDBPyConnection:
    """Returns a read-only connection to the newest published marts.

    It keeps the state it opened, whatever is published later. Every publication has a file name of its own, so that
    DuckDB, which shares one instance a path within a process, never answers from an older file.

    Raises:
        NothingPublished: nothing was published yet.
    """
    for attempt in range(_ATTEMPTS):
        path = newest_snapshot(stores.marts_folder)
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
