"""The tables of the operational database that the marts are built from, each declared once.

Belongs here: which columns are read, how they are typed, how changes are found. Does not belong here: reading them
(extraction.py). Columns are few on purpose: no address, subject or body ever leaves the OLTP tier through here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import LiteralString

import pyarrow as pa

from penguinmails.stack.sql import Queries

_COLUMNS = Queries(Path(__file__).parent / "sql" / "postgresql" / "columns.sql")


class ColumnType(StrEnum):
    """Type of a column in the landing zone and in the build; the value is DuckDB's name of it."""

    UUID = "UUID"
    TEXT = "VARCHAR"
    TIMESTAMP = "TIMESTAMP"
    BOOLEAN = "BOOLEAN"
    INTEGER = "BIGINT"
    DECIMAL = "DECIMAL(18, 4)"

    @property
    def arrow(self) -> pa.DataType:
        """Type in the landing zone. UUIDs are their sixteen bytes there: Spark refuses Parquet's UUID type, and text takes
        twice as long to write and to read. Times are UTC."""
        return _ARROW[self]


_ARROW: dict[ColumnType, pa.DataType] = {
    ColumnType.UUID: pa.binary(16),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us"),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DECIMAL: pa.decimal128(18, 4),
}


class ReadMode(StrEnum):
    """How a run finds what changed."""

    CHANGES = "changes"
    """The table has `xid xid8 DEFAULT pg_current_xact_id()`: only rows that the previous snapshot did not see."""
    WHOLE = "whole"
    """A small table: read whole every time, landed only when its content differs from what landed last."""


@dataclass(frozen=True)
class SourceColumn:
    """One column.

    Args:
        name: in the landing zone and the build.
        type: its type there.
        expression: PostgreSQL expression it is read with (default: the column of that name).
        distinct: (nearly) every row has a value of its own, so that a dictionary of them is not worth trying.
    """

    name: str
    type: ColumnType
    expression: LiteralString | None = None
    distinct: bool = False


@dataclass(frozen=True)
class Source:
    """One table of the operational database.

    Args:
        table: its name.
        mode: how changes are found.
        key: columns, as named here, that identify a row.
        columns: what is read.
        role: PostgreSQL role it is read as.
        only: PostgreSQL condition of the rows that are read.
    """

    table: str
    mode: ReadMode
    key: tuple[str, ...]
    columns: tuple[SourceColumn, ...]
    role: LiteralString = "pm_reader"
    only: LiteralString = "true"

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([(column.name, column.type.arrow) for column in self.columns])

    @property
    def fingerprint(self) -> str:
        """Changes whenever a column is added, dropped, renamed, retyped or read differently."""
        described = [f"{column.name} {column.type} {column.expression or ''}" for column in self.columns]
        return hashlib.sha256("\n".join([self.table, self.only, *self.key, *described]).encode()).hexdigest()[:16]


def _columns(type_: ColumnType, *names: str) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(name, type_) for name in names)


EMAIL_MESSAGES = Source(
    "email_messages",
    ReadMode.CHANGES,
    ("tenant_id", "message_id"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("message_id", ColumnType.UUID, "id", distinct=True),
        *_columns(
            ColumnType.UUID,
            "company_id",
            "email_account_id",
            "campaign_id",
            "campaign_sequence_step_id",
        ),
        SourceColumn("lead_id", ColumnType.UUID, _COLUMNS["lead_of_a_message"]),
        *_columns(ColumnType.TEXT, "direction", "message_type"),
        SourceColumn("erased_at", ColumnType.TIMESTAMP, _COLUMNS["person_of_a_message_erased_at"]),
    ),
)

EMAIL_EVENTS = Source(
    "email_events",
    ReadMode.CHANGES,
    ("tenant_id", "event_id", "occurred_at"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("event_id", ColumnType.UUID, "id", distinct=True),
        SourceColumn("message_id", ColumnType.UUID, distinct=True),
        SourceColumn("event_type", ColumnType.TEXT),
        # Infinity and years before Christ exist in PostgreSQL and nowhere after it: they are kept as the nearest year
        # that every engine can hold, and end in the quarantine.
        SourceColumn(
            "occurred_at",
            ColumnType.TIMESTAMP,
            "least(greatest(occurred_at, '0001-01-01 00:00:00+00'), '9999-12-31 00:00:00+00')",
            distinct=True,
        ),
        SourceColumn("ingested_at", ColumnType.TIMESTAMP, distinct=True),
    ),
)

CAMPAIGNS = Source(
    "campaigns",
    ReadMode.WHOLE,
    ("tenant_id", "campaign_id"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("campaign_id", ColumnType.UUID, "id"),
        SourceColumn("company_id", ColumnType.UUID),
        SourceColumn("status", ColumnType.TEXT),
    ),
)

CAMPAIGN_SEQUENCE_STEPS = Source(
    "campaign_sequence_steps",
    ReadMode.WHOLE,
    ("tenant_id", "campaign_sequence_step_id"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("campaign_sequence_step_id", ColumnType.UUID, "id"),
        *_columns(ColumnType.UUID, "campaign_id", "email_account_id"),
        SourceColumn("step_order", ColumnType.INTEGER),
        SourceColumn("step_type", ColumnType.TEXT),
        SourceColumn("is_active", ColumnType.BOOLEAN),
    ),
)


def _whole(
    table: str,
    key: tuple[str, ...],
    *columns: SourceColumn | tuple[SourceColumn, ...],
    role: LiteralString = "pm_reader",
) -> Source:
    flat: list[SourceColumn] = []
    for column in columns:
        flat.extend(column if isinstance(column, tuple) else (column,))
    return Source(table, ReadMode.WHOLE, key, tuple(flat), role)


_TENANT = SourceColumn("tenant_id", ColumnType.UUID)

TENANTS = _whole("tenants", ("tenant_id",), SourceColumn("tenant_id", ColumnType.UUID, "id"))

DOMAINS = _whole(
    "domains",
    ("tenant_id", "domain_id"),
    _TENANT,
    SourceColumn("domain_id", ColumnType.UUID, "id"),
    SourceColumn("company_id", ColumnType.UUID),
)

EMAIL_ACCOUNTS = _whole(
    "email_accounts",
    ("tenant_id", "email_account_id"),
    _TENANT,
    SourceColumn("email_account_id", ColumnType.UUID, "id"),
    SourceColumn("domain_id", ColumnType.UUID),
)

LEADS = Source(
    "leads",
    ReadMode.WHOLE,
    ("tenant_id", "lead_id"),
    (_TENANT, SourceColumn("lead_id", ColumnType.UUID, "id"), SourceColumn("status", ColumnType.TEXT)),
    only=_COLUMNS["lead_is_a_person"],
)

PLANS = _whole(
    "plans",
    ("plan_id",),
    SourceColumn("plan_id", ColumnType.UUID, "id"),
    SourceColumn("price_monthly", ColumnType.INTEGER),
)

SUBSCRIPTIONS = _whole(
    "subscriptions",
    ("tenant_id", "subscription_id"),
    _TENANT,
    SourceColumn("subscription_id", ColumnType.UUID, "id"),
    SourceColumn("plan_id", ColumnType.UUID),
    SourceColumn("status", ColumnType.TEXT),
    _columns(ColumnType.TIMESTAMP, "current_period_start", "current_period_end"),
)

PAYMENTS = _whole(
    "payments",
    ("tenant_id", "payment_id"),
    _TENANT,
    SourceColumn("payment_id", ColumnType.UUID, "id"),
    SourceColumn("subscription_id", ColumnType.UUID),
    _columns(ColumnType.TIMESTAMP, "billing_period_start", "billing_period_end"),
)

# Infrastructure is no tenant's: only the back office's role reads it across the platform.
VPS_INSTANCES = _whole(
    "vps_instances",
    ("vps_instance_id",),
    SourceColumn("vps_instance_id", ColumnType.UUID, "id"),
    SourceColumn("approximate_cost", ColumnType.DECIMAL, "approximate_cost::double precision"),
    role="pm_staff",
)

SMTP_IP_ADDRESSES = _whole(
    "smtp_ip_addresses",
    ("smtp_ip_address_id",),
    SourceColumn("smtp_ip_address_id", ColumnType.UUID, "id"),
    SourceColumn("vps_instance_id", ColumnType.UUID),
    SourceColumn("approximate_cost", ColumnType.DECIMAL, "approximate_cost::double precision"),
    role="pm_staff",
)

DOMAIN_IP_ASSIGNMENTS = _whole(
    "domain_ip_assignments",
    ("tenant_id", "assignment_id"),
    _TENANT,
    SourceColumn("assignment_id", ColumnType.UUID, "id"),
    _columns(ColumnType.UUID, "domain_id", "smtp_ip_address_id"),
    SourceColumn("status", ColumnType.TEXT),
)

ADMIN_AUDIT_EVENTS = Source(
    "admin_audit_events",
    ReadMode.CHANGES,
    ("tenant_id", "audit_event_id"),
    (
        _TENANT,
        SourceColumn("audit_event_id", ColumnType.UUID, "id"),
        SourceColumn("actor_user_id", ColumnType.UUID),
        *_columns(ColumnType.TEXT, "action", "resource_type", "resource_id", "notes"),
        SourceColumn("old_values", ColumnType.TEXT, "old_values::text"),
        SourceColumn("new_values", ColumnType.TEXT, "new_values::text"),
        SourceColumn("metadata", ColumnType.TEXT, "metadata::text"),
        SourceColumn("ip_address", ColumnType.TEXT, "host(ip_address)"),
        *_columns(ColumnType.TEXT, "user_agent", "data_classification", "retention_category"),
        SourceColumn("occurred_at", ColumnType.TIMESTAMP),
    ),
)

SOURCES: tuple[Source, ...] = (
    EMAIL_MESSAGES,
    EMAIL_EVENTS,
    ADMIN_AUDIT_EVENTS,
    CAMPAIGNS,
    CAMPAIGN_SEQUENCE_STEPS,
    TENANTS,
    DOMAINS,
    EMAIL_ACCOUNTS,
    LEADS,
    PLANS,
    SUBSCRIPTIONS,
    PAYMENTS,
    VPS_INSTANCES,
    SMTP_IP_ADDRESSES,
    DOMAIN_IP_ASSIGNMENTS,
)
"""In the order they are read; all of them in one snapshot."""

FOLLOWED = tuple(source for source in SOURCES if source.mode is ReadMode.CHANGES)
"""Those of which a batch holds what changed: the logs, and messages."""

REFERENCES = {"lead_id": LEADS, "campaign_id": CAMPAIGNS, "campaign_sequence_step_id": CAMPAIGN_SEQUENCE_STEPS}
"""Columns of a message that the operational database empties when what they name is deleted."""
