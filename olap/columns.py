"""What a column of a mart is. Belongs here: that form. Does not belong here: any particular column."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a mart.

    Args:
        name: of the column.
        type: DuckDB's type.
        description: one sentence for people.
        unit: of a number, for example messages or percent; empty where there is none.
        source: table and column it comes from, or its formula.
        nullable: whether it may be empty.
    """

    name: str
    type: str
    description: str
    unit: str = ""
    source: str = ""
    nullable: bool = False

    @property
    def comment(self) -> str:
        """The description with unit and source, as it stands in the published file."""
        unit = f" Unit: {self.unit}." if self.unit else ""
        source = f" Source: {self.source}." if self.source else ""
        return self.description + unit + source
