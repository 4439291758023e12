"""What a mart is: the form in which facts.py and marts.py declare them.

Everything that is said about a mart (its DDL, comments in the published file, docs, Dagster's metadata, contract checks)
comes from these declarations. Belongs here: the form. Does not belong here: any particular mart.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from penguinmails.olap.columns import Column
from penguinmails.olap.selects import read_select

_SQL = Path(__file__).parent / "sql"


class Kind(StrEnum):
    """How a mart comes about."""

    FACT = "fact"
    """Kept up to date by signed differences; every measure is a sum."""
    TABLE = "table"
    """Derived from facts and dimensions when marts are published."""
    VIEW = "view"
    """A view in the published file."""


@dataclass(frozen=True)
class Following:
    """How a mart that is too big to be made anew each time follows a fact.

    Its SELECT reads `<fact>_in_scope`. Rows whose key was touched in the fact are made anew; in all others only `updated`
    and the columns that come from `states` can change.

    Args:
        fact: whose key holds the mart's key.
        states: relation that holds those columns.
        state_key: columns of the mart that identify a row of `states`.
        state_columns: the columns.
    """

    fact: str
    states: str
    state_key: tuple[str, ...]
    state_columns: tuple[str, ...]


@dataclass(frozen=True)
class Mart:
    """One published table or view.

    Args:
        name: of the table or view.
        kind: how it comes about.
        grain: what one row stands for.
        description: one or two sentences for people.
        key: columns that identify a row.
        columns: all of them, in order.
        depends_on: facts, marts and source tables it is made from.
        select: its SELECT where that is made from declarations; otherwise it is in a file of its own.
        following: how it follows a fact; None when it is made anew with each publication.
    """

    name: str
    kind: Kind
    grain: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    depends_on: tuple[str, ...]
    select: str = ""
    following: Following | None = None

    @property
    def sql(self) -> str:
        """The one SELECT that makes it, in DuckDB's dialect."""
        return self.select or read_select(self.sql_path)

    @property
    def sql_path(self) -> Path:
        """The `.sql` file of that SELECT."""
        return _SQL / ("facts" if self.kind is Kind.FACT else "marts") / f"{self.name}.sql"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns that are not part of the key."""
        return tuple(name for name in self.column_names if name not in self.key)

    def same_key(self, one: str, other: str) -> str:
        """Returns the SQL condition that rows of two relations have the same key."""
        nullable = {column.name for column in self.columns if column.nullable}
        return " AND ".join(
            f"{one}.{name} {'IS NOT DISTINCT FROM' if name in nullable else '='} {other}.{name}" for name in self.key
        )
