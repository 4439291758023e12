"""Filling the database with believable data of any size, the same for the same seed.

Belongs here: scales, order, restart, the report. Does not belong here: rows (seeding_platform.py, seeding_tenant.py,
seeding_traffic.py).

A few tenants are written in one transaction, so a seeding that was killed goes on with the tenants that are missing. The next
ones are made while the server takes the ones before; memory holds two batches of them, whatever the scale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from psycopg.types.json import Jsonb

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.copying import copy_rows
from penguinmails.oltp.mail_items import TableRows
from penguinmails.oltp.seeding_dice import YEAR_START, dice_for
from penguinmails.oltp.seeding_platform import plan_ids, platform_rows
from penguinmails.oltp.seeding_tenant import Tenant, make_tenant, tenant_id_of
from penguinmails.oltp.seeding_traffic import BODY_COLUMNS, EVENT_COLUMNS, MESSAGE_COLUMNS, Traffic, make_traffic
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "seeding.sql")
_LEADS_TOGETHER = 4_000
"""Leads of campaigns whose tenants are written together, some 65,000 rows. Each COPY opens every month of its table: fewer and
longer ones cost the server a quarter less."""


@dataclass(frozen=True)
class Scale:
    """How much is seeded.

    Args:
        tenants: how many tenants.
        leads: leads of each tenant.
        campaigns: campaigns of each tenant.
        leads_per_campaign: to how many of its leads a campaign goes.
        with_bodies: whether messages have their original bytes.
    """

    tenants: int
    leads: int
    campaigns: int
    leads_per_campaign: int
    with_bodies: bool


SCALES = MappingProxyType(
    {
        "tiny": Scale(tenants=2, leads=12, campaigns=2, leads_per_campaign=8, with_bodies=True),
        "demo": Scale(tenants=5, leads=120, campaigns=4, leads_per_campaign=60, with_bodies=True),
        # Enough rows for the planner to think as it does at full size.
        "medium": Scale(tenants=25, leads=200, campaigns=10, leads_per_campaign=40, with_bodies=False),
        # The product's documents: 500 tenants, 5,000 campaigns, 100,000 leads; 1 M messages and 5 M events follow.
        "documented": Scale(tenants=500, leads=200, campaigns=10, leads_per_campaign=78, with_bodies=False),
        "large": Scale(tenants=2_000, leads=500, campaigns=20, leads_per_campaign=150, with_bodies=False),
    }
)


@dataclass(frozen=True)
class SeedReport:
    """What a seeding wrote.

    Args:
        scale: its name.
        tenants: tenants written now.
        already_there: tenants that were there.
        rows: rows written, by table.
        seconds: how long it took.
    """

    scale: str
    tenants: int
    already_there: int
    rows: dict[str, int]
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return sum(self.rows.values()) / self.seconds if self.seconds else 0.0


def seed(
    stores: Stores, *, scale: str = "demo", number: int = 1, progress: Callable[[int], None] = lambda _: None
) -> SeedReport:
    """Writes what is missing of a scale; running it again changes nothing.

    Args:
        stores: where the OLTP database is; its schema must be migrated.
        scale: one of SCALES.
        number: the seed; another one gives other tenants beside the first ones, below the same platform.
        progress: called with 1 for each tenant.

    Raises:
        InputError: no such scale.
        ServerError: the database cannot be reached or is not migrated. Whole tenants stay; run again to go on.
    """
    if scale not in SCALES:
        raise InputError(f"scale {scale}", "does not exist", f"Choose one of {', '.join(SCALES)}.")
    began = time.monotonic()
    size = SCALES[scale]
    rows: dict[str, int] = {}
    written = 0
    # A prefix of tenants is the same at every scale, were it not for their size: the scale is part of the seed.
    names = (number, scale)
    addresses = max(size.tenants // 2, 8)
    plans = plan_ids(dice_for("plans"))
    with connect(stores.oltp_url, Role.LOADER) as connection:
        _seed_platform(connection, plans, addresses, rows)
        ids = {tenant_id_of(_seed_number(*names), place): place for place in range(size.tenants)}
        there = connection.execute(_QUERIES["tenants_there"], {"ids": list(ids)}).fetchall()
        progress(len(there))
        missing = [place for tenant_id, place in ids.items() if (tenant_id,) not in there]
        together = max(_LEADS_TOGETHER // (size.campaigns * size.leads_per_campaign), 1)
        batches = (missing[start : start + together] for start in range(0, len(missing), together))
        for batch in _made_ahead(batches, lambda place: _make(names, place, size, plans, addresses)):
            written += _write_tenants(connection, batch, rows)
            progress(len(batch))
    return SeedReport(scale, written, size.tenants - written, rows, time.monotonic() - began)


def _seed_platform(connection: Connection, plans: list[UUID], addresses: int, rows: dict[str, int]) -> None:
    with connection.transaction():
        connection.execute(_QUERIES["lock"])
        if connection.execute(_QUERIES["plan_exists"], {"id": plans[0]}).fetchone():
            return
        # As many addresses as the largest scale has: a second seeding of another scale finds its own among them.
        most = max(addresses, max(scale.tenants for scale in SCALES.values()) // 2)
        for group in platform_rows(dice_for("platform"), plans, most):
            _write(connection, group, rows)


@dataclass(frozen=True)
class _Made:
    """All rows of one tenant."""

    tenant: Tenant
    traffic: Traffic
    audit_events: TableRows


def _make(names: tuple[int, str], place: int, size: Scale, plans: list[UUID], addresses: int) -> _Made:
    dice = dice_for(*names, place)
    tenant = make_tenant(
        dice, _seed_number(*names), place, plans, leads=size.leads, campaigns=size.campaigns, addresses=addresses
    )
    traffic = make_traffic(dice, tenant, leads_per_campaign=size.leads_per_campaign, with_bodies=size.with_bodies)
    return _Made(tenant, traffic, _audit_events(tenant, names, place))


def _made_ahead(batches: Iterable[list[int]], make: Callable[[int], _Made]) -> Iterator[list[_Made]]:
    """Makes the next batch beside whatever its taker does with the one before."""

    def make_all(places: list[int]) -> list[_Made]:
        return [make(place) for place in places]

    with ThreadPoolExecutor(1) as beside:
        ahead: Future[list[_Made]] | None = None
        for places in batches:
            following = beside.submit(make_all, places)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def _write_tenants(connection: Connection, batch: list[_Made], rows: dict[str, int]) -> int:
    with connection.transaction():
        connection.execute(_QUERIES["lock"])
        ids = [made.tenant.tenant_id for made in batch]
        there = connection.execute(_QUERIES["tenants_there"], {"ids": ids}).fetchall()
        missing = [
            made for made in batch if (made.tenant.tenant_id,) not in there
        ]  # another seeding may have been here
        for groups in zip(*(made.tenant.groups for made in missing), strict=True):
            fated = [_with_fates(group, made.traffic) for group, made in zip(groups, missing, strict=True)]
            _write(connection, TableRows(groups[0].table, [row for group in fated for row in group.rows]), rows)
        _write_traffic(connection, [made.traffic for made in missing], rows)
        audited = [row for made in missing for row in made.audit_events.rows]
        _write(connection, TableRows("admin_audit_events", audited), rows)
    return len(missing)


def _seed_number(number: int, scale: str) -> int:
    """One number for a seed and a scale, the same in every process."""
    return number * 100 + list(SCALES).index(scale)


def _with_fates(group: TableRows, traffic: Traffic) -> TableRows:
    """Leads get the status that their traffic gave them."""
    if group.table != "leads":
        return group
    fates = dict.fromkeys(traffic.unsubscribed_leads, "unsubscribed") | dict.fromkeys(traffic.bounced_leads, "bounced")
    return TableRows("leads", [{**row, "status": fates.get(row["id"], "active")} for row in group.rows])  # type: ignore[call-overload]


def _write_traffic(connection: Connection, traffic: Sequence[Traffic], rows: dict[str, int]) -> None:
    groups: Sequence[tuple[str, Sequence[str], Iterator[tuple[object, ...]]]] = (
        ("email_messages", MESSAGE_COLUMNS, (row for each in traffic for row in each.messages)),
        ("email_message_bodies", BODY_COLUMNS, (row for each in traffic for row in each.bodies)),
        ("email_events", EVENT_COLUMNS, (row for each in traffic for row in each.events)),
    )
    for table, columns, values in groups:
        written = copy_rows(connection, table, columns, values)
        if written:
            rows[table] = rows.get(table, 0) + written


def _audit_events(tenant: Tenant, names: tuple[int, str], place: int) -> TableRows:
    dice = dice_for("audit", *names, place)
    actions = (
        ("role_changed", "role"),
        ("plan_changed", "billing"),
        ("policy_changed", "configuration"),
        ("leads_exported", "export"),
    )
    found = []
    for action, category in actions:
        at = dice.working_time(YEAR_START)
        found.append(
            {
                "tenant_id": tenant.tenant_id,
                "id": dice.uuid_at(at),
                "action": action,
                "category": category,
                "old_values": Jsonb({}),
                "new_values": Jsonb({"changed": True}),
                "data_classification": "confidential" if category == "export" else "internal",
                "occurred_at": at,
            }
        )
    return TableRows("admin_audit_events", found)


def _write(connection: Connection, group: TableRows, rows: dict[str, int]) -> None:
    if group.rows:
        columns = list(group.rows[0])
        values = ([row[column] for column in columns] for row in group.rows)
        rows[group.table] = rows.get(group.table, 0) + copy_rows(connection, group.table, columns, values)
