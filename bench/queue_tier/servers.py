"""Servers of their own for a measurement, in a temporary home; nothing of the user's is touched."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penguinmails.queue.schema import migrate
from penguinmails.stack import embedded
from penguinmails.stack.stores import Stores, resolve


@contextmanager
def own_servers() -> Iterator[tuple[Stores, Path]]:
    """Yields stores with an empty queue, and their home; stops the servers afterwards."""
    with tempfile.TemporaryDirectory(prefix="penguinmails-bench-") as folder:
        os.environ["PENGUINMAILS_HOME"] = folder
        try:
            stores = resolve()
            migrate(stores)
            yield stores, Path(folder)
        finally:
            embedded.stop(Path(folder))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {"cores": os.cpu_count(), "load_average": os.getloadavg(), "python": platform.python_version()}


def versions(stores: Stores) -> dict[str, str]:
    """Versions and durability of the servers."""
    import psycopg

    with psycopg.connect(stores.queue_url.get_secret_value()) as connection:
        found = {
            name: str(connection.execute(f"SHOW {name}".encode()).fetchone()[0])  # type: ignore[index]
            for name in ("server_version", "fsync", "synchronous_commit")
        }
    client = stores.open_redis()
    information = client.info()
    found["redis"] = (
        f"{information.get('server_name', 'redis')} {information.get('valkey_version') or information['redis_version']}"
    )
    found["appendfsync"] = client.config_get("appendfsync")["appendfsync"]
    client.close()
    return found
