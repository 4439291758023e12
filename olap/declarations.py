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
    """

    name: str
    kind: Kind
    grain: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    depends_on: tuple[str, ...]
    select: str = ""

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
