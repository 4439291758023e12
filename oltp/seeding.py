"""Filling the database with believable data of any size, the same for the same seed.

Belongs here: order, restart, leaving the database settled, the report. Does not belong here: how much (seeding_scales.py),
writing some tenants (seeding_batch.py), doing so by several processes (seeding_processes.py).

A few tenants are written in one transaction, so a seeding that was killed goes on with the tenants that are missing. Memory
holds one batch of them a process, whatever the scale.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from psycopg import sql
from pydantic import SecretStr

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.partitions import ensure_partitions
from penguinmails.oltp.seeding_batch import QUERIES, tenants_there, write_batch, write_platform
from penguinmails.oltp.seeding_dice import YEAR_END
from penguinmails.oltp.seeding_processes import Batch, BatchWritten, usual_processes, write_by_processes
from penguinmails.oltp.seeding_scales import SCALES, Scale, Seeding
from penguinmails.stack.stores import Stores

__all__ = ["SCALES", "Scale", "SeedReport", "seed"]

_SETTLING_ATTEMPTS, _SETTLING_PAUSE_SECONDS = 5, 0.5
_LEADS_TOGETHER = 8_000
"""Leads of campaigns whose tenants are written together, some 130,000 rows. Each COPY opens every month of its table: fewer and
longer ones cost the server a quarter less."""


@dataclass(frozen=True)
class SeedReport:
    """What a seeding wrote.

    Args:
        scale: its name.
        tenants: tenants written now.
        already_there: tenants that were there.
        rows: rows written, by table.
        seconds: how long writing took.
        settling_seconds: how long settling the tables took after that.
    """

    scale: str
    tenants: int
    already_there: int
    rows: dict[str, int]
    seconds: float
    settling_seconds: float

    @property
    def rows_per_second(self) -> float:
        return sum(self.rows.values()) / self.seconds if self.seconds else 0.0


def seed(
    stores: Stores,
    *,
    scale: str = "demo",
    number: int = 1,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
    settling: Callable[[str], None] = lambda _: None,
) -> SeedReport:
    """Writes what is missing of a scale and settles the tables; running it again changes nothing.

    Args:
        stores: where the OLTP database is; its schema must be migrated.
        scale: one of SCALES.
        number: the seed; another one gives other tenants beside the first ones, below the same platform.
        processes: how many write at once; as many as there are cores, at most four, when not given.
        progress: called with a number of tenants that are done.
        settling: called with the name of each table before it is settled.

    Raises:
        InputError: no such scale.
        ServerError: the database cannot be reached or is not migrated, or a process was ended. Whole tenants stay; run again
            to go on.
    """
    seeding = Seeding(scale, number)
    processes = processes or usual_processes()
    began = time.monotonic()
    with connect(stores.oltp_url, Role.OWNER) as connection:
        ensure_partitions(connection, now=YEAR_END)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        rows = write_platform(connection)
        ids = [seeding.tenant_id(place) for place in range(seeding.size.tenants)]
        there = tenants_there(connection, ids)
        progress(len(there))
        missing = [place for place, tenant_id in enumerate(ids) if tenant_id not in there]
        batches = _batches(seeding.size, missing, processes)
        processes = min(processes, len(batches))
        if processes > 1:
            written = write_by_processes(stores.oltp_url, seeding, batches, processes)
        else:
            written = (BatchWritten(len(places), write_batch(connection, seeding, places)) for places in batches)
        with closing(written):
            for batch in written:
                rows += batch.rows
                progress(batch.tenants)
    written_at = time.monotonic()
    _settle(stores.oltp_url, settling)
    settling_seconds = time.monotonic() - written_at
    return SeedReport(
        scale, rows["tenants"], len(ids) - rows["tenants"], dict(rows), written_at - began, settling_seconds
    )


def _batches(size: Scale, places: Sequence[int], processes: int) -> list[Batch]:
    """Cuts tenants into batches of equal size, as many for each process; small work stays in one."""
    count = math.ceil(len(places) * size.campaigns * size.leads_per_campaign / _LEADS_TOGETHER)
    if count > 1:
        count = min(math.ceil(count / processes) * processes, len(places))
    return [places[len(places) * number // count : len(places) * (number + 1) // count] for number in range(count)]


def _settle(url: SecretStr, settling: Callable[[str], None]) -> None:
    """Leaves the tables as autovacuum would in time, and frozen, because most of these rows never change.

    Until a page is known to be visible to everybody, an index alone answers nothing (the planner would rather read all of a
    table), and whoever reads a page first writes it once more.
    """
    with connect(url, Role.OWNER) as connection:
        connection.execute(QUERIES["write_out_steadily"])
        for attempt in range(_SETTLING_ATTEMPTS):
            unsettled = connection.execute(QUERIES["unsettled_tables"]).fetchall()
            if unsettled and attempt:  # somebody, autovacuum mostly, still looked at what was there before
                time.sleep(_SETTLING_PAUSE_SECONDS)
            for (table,) in unsettled:
                settling(table)
                connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(table)))
