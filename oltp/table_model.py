"""What a declaration of a table says.

Belongs here: the types of the declarations. Does not belong here: any table (tables_*.py) or any SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Section(StrEnum):
    """The six sections of the schema; Dagster groups assets by them."""

    MULTI_TENANT_CORE = "multi_tenant_core"
    BUSINESS_LOGIC = "business_logic"
    CAMPAIGNS = "campaigns"
    BILLING = "billing"
    INFRASTRUCTURE_AND_CONFIGURATION = "infrastructure_and_configuration"
    MESSAGING = "messaging"


class Isolation(StrEnum):
    """Whose rows the application sees."""

    TENANT = "tenant"
    """Rows of the tenant of the transaction."""
    USER = "user"
    """Rows of the user of the transaction."""
    PLATFORM = "platform"
    """None, or a catalogue that everybody may read."""


class PersonalData(StrEnum):
    """What a column tells about a person."""

    NONE = "none"
    NAME = "name"
    """Who somebody is."""
    CONTACT = "contact"
    """How to reach somebody: mail and postal addresses."""
    CONTENT = "content"
    """What people wrote to one another."""
    TECHNICAL = "technical"
    """Traces of somebody's devices: network addresses, user agents."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its name in the database.
        type: its PostgreSQL type (varchar and timestamptz in their short spelling).
        meaning: what a value says, for people.
        unit: unit of a number; empty where there is none.
        required: NOT NULL.
        personal: what it tells about a person.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    required: bool = False
    personal: PersonalData = PersonalData.NONE

    @property
    def comment(self) -> str:
        """What the database says about the column."""
        notes = [f"Unit: {self.unit}."] if self.unit else []
        if self.personal is not PersonalData.NONE:
            notes.append(f"Personal data: {self.personal}.")
        return " ".join([self.meaning, *notes])


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        name: its name in the schema `public`.
        section: its section of the schema.
        meaning: what one row is.
        isolation: whose rows the application sees.
        tenant_key: the column that names the tenant; None for tables without tenant.
        primary_key: its columns, in order.
        references: the tables its foreign keys name, in order of name.
        partitioned_by: the column whose months cut it; None for a plain table.
        columns: in the order of the database.
    """

    name: str
    section: Section
    meaning: str
    isolation: Isolation
    tenant_key: str | None
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[str, ...] = ()
    partitioned_by: str | None = None

    def column(self, name: str) -> Column:
        """Returns the column of that name; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


# Columns that most tables have, spelt once.
TENANT_ID = Column("tenant_id", "uuid", "Tenant the row belongs to; first part of every key.", required=True)
ID = Column("id", "uuid", "Identity of the row within its tenant; ordered by time (version 7).", required=True)
NUMBER = Column("id", "bigint", "Identity of the row.", required=True)
CREATED = Column("created", "timestamptz", "When the row was written.", required=True)
UPDATED = Column("updated", "timestamptz", "When the row was last changed.", required=True)
