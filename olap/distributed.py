"""Rolling up and publishing on a distributed engine: for events that no longer fit one machine.

What is new is landed as always; the engine makes every fact and mart from the whole landing zone, counts the events of
every tenant and day for the reconciliation, and only finished marts come to this machine, into the same file that readers
get otherwise. No build file is needed, and one that exists goes on from the landing zone when it is used again: the two ways
may take turns.

Belongs here: that order, and the connection to the engine. Does not belong here: any SELECT (sql/), rendering (engines.py).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from penguinmails.olap.build import MEMORY_LIMIT, SQL, Position, set_position
from penguinmails.olap.declarations import Kind
from penguinmails.olap.engine_settings import ADDRESS_VARIABLE, LANDING_VARIABLE
from penguinmails.olap.engines import Session, events_by_day, make_marts
from penguinmails.olap.errors import EngineFailed
from penguinmails.olap.extraction import Mark
from penguinmails.olap.landing import Landing, Manifest
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.mart_file import write_computed
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import (
    KEPT_SNAPSHOTS,
    PublishReport,
    clear_away,
    next_number,
    put_in_place,
)
from penguinmails.olap.reading import snapshot_path
from penguinmails.olap.reconcile import EventCount, compare_events, require_agreement
from penguinmails.olap.roll_up import extract, landing_of
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_ENGINE = Queries(SQL / "engine" / "brought_here.sql")
_SCHEMA = Queries(SQL / "build" / "schema.sql")
_PORT = 15002
"""Where Spark Connect listens unless told otherwise."""
_CONNECT_SECONDS = 10.0
_QUARANTINE = ("tenant_id", "occurred_at", "reason")


@contextmanager
def open_session(address: str) -> Iterator[Session]:
    """Opens a session on a Spark Connect server.

    Args:
        address: `sc://host:port`.

    Raises:
        InputError: Spark's client is not installed.
        EngineFailed: the engine cannot be reached, or refuses something while the session is open.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        raise InputError(
            "the engine spark", "needs a package that is not installed", "Install pyspark-client beside penguinmails."
        ) from error
    _require_listener(address)
    session = None
    try:
        session = SparkSession.builder.remote(address).create()
        yield session
    except PySparkException as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise EngineFailed(
            f"the engine at {address}",
            f"failed ({lines[0]})",
            f"Check {ADDRESS_VARIABLE} and, that it can read the landing zone, {LANDING_VARIABLE}; nothing was published.",
        ) from error
    finally:
        if session is not None:
            session.stop()


def _require_listener(address: str) -> None:
    """Spark's client tries an address at which nobody listens for many minutes."""
    target = urlsplit(address)
    try:
        if target.scheme != "sc" or target.hostname is None:
            raise InputError(f"address {address}", "is none of Spark Connect", "Write it as sc://host:port.")
        socket.create_connection((target.hostname, target.port or _PORT), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineFailed(
            f"the engine at {address}",
            f"does not answer ({error.strerror or type(error).__name__})",
            f"Start it or correct {ADDRESS_VARIABLE}; nothing was published.",
        ) from error


def publish_from_engine(
    stores: Stores,
    session: Session,
    *,
    landing_address: str | None = None,
    clock: Callable[[], datetime] = utc_now,
    wait_seconds: float = WAIT_SECONDS,
    kept_snapshots: int = KEPT_SNAPSHOTS,
) -> PublishReport:
    """Lands what is new, makes all marts on the engine, reconciles, publishes.

    Args:
        session: of the engine.
        landing_address: how the engine reaches the bucket of the landing zone, such as `s3a://bucket`; None brings the
            files to this machine, for an engine that runs here or shares its disk.
        kept_snapshots: newest published files kept to go back to, beside those of days and weeks.

    Raises:
        ReconciliationFailed: the marts disagree with the operational database, or break their declaration.
        SourceUnavailable, CursorUnusable, LandingDamaged, BuildBusy: as for `roll_up`.
    """
    started_at = clock()
    folder = stores.marts_folder
    with one_at_a_time(folder, wait_seconds=wait_seconds):
        landing = landing_of(stores)
        newest = landing.newest()
        position = Position(newest, landing.manifest(newest).mark) if newest else None
        as_of = extract(stores, landing, position, batch=newest + 1).mark.as_of
        manifests = landing.manifests(landing.chain())
        mark = replace(manifests[-1].mark, as_of=as_of)
        try:
            make_marts(session, manifests, _addresses(landing, manifests, landing_address), as_of)
            counts = [_event_count(row) for row in events_by_day(session).toArrow().to_pylist()]
            reconciled = compare_events(stores.oltp_url, mark.snapshot, lambda *_: counts)
            require_agreement(reconciled)
            number = next_number(folder)
            path = snapshot_path(folder, number)
            unfinished = path.with_suffix(".unfinished")
            with _brought_here(session, folder / "from_engine.duckdb", manifests[-1].batch, mark) as connection:
                published_at = clock()
                rows = write_computed(connection, unfinished, number=number, published_at=published_at)
        finally:
            landing.forget()
        size_bytes = unfinished.stat().st_size
        put_in_place(folder, unfinished, path, published_at)
        clear_away(folder, kept_snapshots, published_at)
        return PublishReport(
            number=number,
            path=path,
            marts=len(MARTS),
            rows=rows,
            size_bytes=size_bytes,
            days_reconciled=reconciled.days,
            whole=True,
            as_of=as_of,
            seconds=(clock() - started_at).total_seconds(),
        )


def _addresses(
    landing: Landing, manifests: Sequence[Manifest], landing_address: str | None
) -> dict[str, list[tuple[int, str]]]:
    """Returns, by table, the batch numbers and addresses of all files, as the engine reaches them."""
    landed = [(table, manifest.batch, each) for manifest in manifests for table, each in manifest.sources.items()]
    if landing_address is None:
        found = [[str(path) for path in paths] for paths in landing.fetch(*(each for _, _, each in landed))]
    else:
        found = [[f"{landing_address.rstrip('/')}/{part.key}" for part in each.parts] for _, _, each in landed]
    addresses: dict[str, list[tuple[int, str]]] = {}
    for (table, batch, _), of_batch in zip(landed, found, strict=True):
        addresses.setdefault(table, []).extend((batch, address) for address in of_batch)
    return addresses


@contextmanager
def _brought_here(session: Session, path: Path, batch: int, mark: Mark) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a scratch database that holds what the engine made, mart by mart, beside the position."""
    path.unlink(missing_ok=True)
    try:
        with duckdb.connect(path, config={"memory_limit": MEMORY_LIMIT}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(_SCHEMA["position"])
            set_position(connection, batch, mark)
            tables = {mart.name: mart.column_names for mart in MARTS if mart.kind is not Kind.VIEW}
            for name, columns in (tables | {"quarantined_events": _QUARANTINE}).items():
                made = session.table(name).select(*columns).toArrow()
                connection.register("made", made)
                connection.execute(_ENGINE["keep"].format(name=name))
                connection.unregister("made")
            yield connection
    finally:
        path.unlink(missing_ok=True)


def _event_count(row: dict[str, Any]) -> EventCount:
    return row["tenant_id"], row["day"], row["rows"], row["checksum"]
