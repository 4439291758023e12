"""Making all rows of a few tenants and writing them in one transaction.

Belongs here: one batch of a seeding, whole or not at all. Does not belong here: which batches there are (seeding.py) and who
writes them (seeding_processes.py), what rows say (seeding_tenant.py, seeding_traffic.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from psycopg.types.json import Jsonb

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.copying import copy_encoded_rows, copy_rows
from penguinmails.oltp.mail_items import TableRows
from penguinmails.oltp.seeding_dice import YEAR_START, dice_for
from penguinmails.oltp.seeding_platform import plan_ids, platform_rows
from penguinmails.oltp.seeding_scales import SCALES, Seeding
from penguinmails.oltp.seeding_tenant import Tenant, make_tenant
from penguinmails.oltp.seeding_traffic import BODY_COLUMNS, EVENT_COLUMNS, MESSAGE_COLUMNS, Rows, Traffic, make_traffic
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "seeding.sql")


@dataclass(frozen=True)
class Made:
    """All rows of one tenant."""

    tenant: Tenant
    traffic: Traffic
    audit_events: TableRows


def make(seeding: Seeding, place: int) -> Made:
    """Makes the rows of one tenant; the same arguments give the same rows."""
    dice = dice_for(seeding.number, seeding.scale, place)
    size = seeding.size
    tenant = make_tenant(
        dice,
        seeding.tenants_seed,
        place,
        plan_ids(dice_for("plans")),
        leads=size.leads,
        campaigns=size.campaigns,
        addresses=size.addresses,
    )
    traffic = make_traffic(dice, tenant, leads_per_campaign=size.leads_per_campaign, with_bodies=size.with_bodies)
    return Made(tenant, traffic, _audit_events(tenant, seeding, place))


def write_batch(connection: Connection, seeding: Seeding, places: Sequence[int]) -> Counter[str]:
    """Makes and writes those of the tenants that are not there yet; returns the rows written, by table.

    Another seeding of the same tenants waits for this one's end and then finds them there.
    """
    rows: Counter[str] = Counter()
    ids = {seeding.tenant_id(place): place for place in places}
    with connection.transaction():
        connection.execute(QUERIES["take_turns"], {"names": [str(tenant_id) for tenant_id in ids]})
        there = tenants_there(connection, list(ids))
        made = [make(seeding, place) for tenant_id, place in ids.items() if tenant_id not in there]
        if not made:
            return rows
        for groups in zip(*(each.tenant.groups for each in made), strict=True):
            fated = (_with_fates(group, each.traffic) for group, each in zip(groups, made, strict=True))
            _write(connection, TableRows(groups[0].table, [row for group in fated for row in group.rows]), rows)
        _write_traffic(connection, [each.traffic for each in made], rows)
        audited = [row for each in made for row in each.audit_events.rows]
        _write(connection, TableRows("admin_audit_events", audited), rows)
    return +rows  # tables without rows drop out


def write_platform(connection: Connection) -> Counter[str]:
    """Writes what the platform has before its first tenant, unless it is there; returns the rows written, by table."""
    rows: Counter[str] = Counter()
    plans = plan_ids(dice_for("plans"))
    with connection.transaction():
        connection.execute(QUERIES["take_turns"], {"names": ["platform"]})
        if not connection.execute(QUERIES["plan_exists"], {"id": plans[0]}).fetchone():
            # As many addresses as the largest scale has: a second seeding of another scale finds its own among them.
            addresses = max(scale.addresses for scale in SCALES.values())
            for group in platform_rows(dice_for("platform"), plans, addresses):
                _write(connection, group, rows)
    return rows


def tenants_there(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Returns those of the tenants that the database has."""
    return {tenant_id for (tenant_id,) in connection.execute(QUERIES["tenants_there"], {"ids": list(ids)})}


def _with_fates(group: TableRows, traffic: Traffic) -> TableRows:
    """Leads get the status that their traffic gave them."""
    if group.table != "leads":
        return group
    fates = dict.fromkeys(traffic.unsubscribed_leads, "unsubscribed") | dict.fromkeys(traffic.bounced_leads, "bounced")
    return TableRows("leads", [{**row, "status": fates.get(row["id"], "active")} for row in group.rows])  # type: ignore[call-overload]


def _write(connection: Connection, group: TableRows, rows: Counter[str]) -> None:
    if group.rows:
        columns = list(group.rows[0])
        values = ([row[column] for column in columns] for row in group.rows)
        rows[group.table] += copy_rows(connection, group.table, columns, values)


def _write_traffic(connection: Connection, traffic: Sequence[Traffic], rows: Counter[str]) -> None:
    groups = (
        ("email_messages", MESSAGE_COLUMNS, [each.messages for each in traffic]),
        ("email_message_bodies", BODY_COLUMNS, [each.bodies for each in traffic]),
        ("email_events", EVENT_COLUMNS, [each.events for each in traffic]),
    )
    for table, columns, encoded in groups:
        rows[table] += copy_encoded_rows(connection, table, columns, Rows.in_order_of_time(encoded))


def _audit_events(tenant: Tenant, seeding: Seeding, place: int) -> TableRows:
    dice = dice_for("audit", seeding.number, seeding.scale, place)
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
