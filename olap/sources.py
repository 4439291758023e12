"""The tables of the operational database that the marts are built from, each declared once.

Belongs here: which columns are read, how they are typed, how changes are found. Does not belong here: reading them
(extraction.py). Columns are few on purpose: no address, subject or body ever leaves the OLTP tier through here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString

import pyarrow as pa


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
        """Type in the landing zone. UUIDs are text there: Spark refuses Parquet's UUID type. Times are UTC."""
        return _ARROW[self]


_ARROW: dict[ColumnType, pa.DataType] = {
    ColumnType.UUID: pa.string(),
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
    """

    name: str
    type: ColumnType
    expression: LiteralString | None = None


@dataclass(frozen=True)
class Source:
    """One table of the operational database."""

    table: str
    mode: ReadMode
    key: tuple[str, ...]
    columns: tuple[SourceColumn, ...]

    @property
    def arrow_schema(self) -> pa.Schema:
        return pa.schema([(column.name, column.type.arrow) for column in self.columns])

    @property
    def fingerprint(self) -> str:
        """Changes whenever a column is added, dropped, renamed, retyped or read differently."""
        described = [f"{column.name} {column.type} {column.expression or ''}" for column in self.columns]
        return hashlib.sha256("\n".join([self.table, *self.key, *described]).encode()).hexdigest()[:16]


def _columns(type_: ColumnType, *names: str) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(name, type_) for name in names)


EMAIL_MESSAGES = Source(
    "email_messages",
    ReadMode.CHANGES,
    ("tenant_id", "message_id"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("message_id", ColumnType.UUID, "id"),
        *_columns(
            ColumnType.UUID,
            "company_id",
            "email_account_id",
            "campaign_id",
            "campaign_sequence_step_id",
            "lead_id",
        ),
        *_columns(ColumnType.TEXT, "direction", "message_type"),
    ),
)

EMAIL_EVENTS = Source(
    "email_events",
    ReadMode.CHANGES,
    ("tenant_id", "event_id", "occurred_at"),
    (
        SourceColumn("tenant_id", ColumnType.UUID),
        SourceColumn("event_id", ColumnType.UUID, "id"),
        SourceColumn("message_id", ColumnType.UUID),
        SourceColumn("event_type", ColumnType.TEXT),
        # Infinity and years before Christ exist in PostgreSQL and nowhere after it: they are kept as the nearest year
        # that every engine can hold, and end in the quarantine.
        SourceColumn(
            "occurred_at",
            ColumnType.TIMESTAMP,
            "least(greatest(occurred_at, '0001-01-01 00:00:00+00'), '9999-12-31 00:00:00+00')",
        ),
        SourceColumn("ingested_at", ColumnType.TIMESTAMP),
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
        SourceColumn("campaign_id", ColumnType.UUID),
        SourceColumn("step_order", ColumnType.INTEGER),
        SourceColumn("step_type", ColumnType.TEXT),
        SourceColumn("is_active", ColumnType.BOOLEAN),
    ),
)

SOURCES: tuple[Source, ...] = (EMAIL_MESSAGES, EMAIL_EVENTS, CAMPAIGNS, CAMPAIGN_SEQUENCE_STEPS)
"""In the order they are read; all of them in one snapshot."""
