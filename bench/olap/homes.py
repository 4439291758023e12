"""A home of its own for a measurement, with a generated database in it; nothing of the user's is touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generating import TENANTS, make

from penguinmails.oltp.schema import migrate
from penguinmails.stack import embedded
from penguinmails.stack.stores import Stores, resolve


@contextmanager
def own_home(*, events: int, tenants: int = TENANTS) -> Iterator[tuple[Stores, Path]]:
    """Yields stores with about that many events, and their home; stops the servers and removes everything afterwards."""
    with tempfile.TemporaryDirectory(prefix="penguinmails-bench-") as folder:
        os.environ["PENGUINMAILS_HOME"] = folder
        try:
            stores = resolve()
            migrate(stores)
            make(stores.oltp_url, events=events, tenants=tenants)
            yield stores, Path(folder)
        finally:
            embedded.stop(Path(folder))
