"""How reports and declarations of the tiers are shown in Dagster: the same keys and types everywhere, so the UI plots them.

Belongs here: turning a frozen report into metadata, a declared column into Dagster's column. Does not belong here: text
of any table or mart; that is declared once, in its tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

OWNERS = ["team:data-platform"]


def of_report(report: Any) -> dict[str, Any]:
    """Returns the plain fields of a report as metadata, under their own names; nested ones are left out.

    Args:
        report: a frozen dataclass of counts, bytes, seconds, times and short texts. It holds no personal data.
    """
    values = {field.name: getattr(report, field.name) for field in fields(report)}
    return {name: shown for name, value in values.items() if (shown := of_value(value)) is not None}


def of_value(value: object) -> dg.MetadataValue[Any] | None:
    """Returns the metadata of one value, None for what is not plain."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(round(value, 4))
    if isinstance(value, timedelta):
        return dg.MetadataValue.float(value.total_seconds())
    if isinstance(value, datetime | date):
        return dg.MetadataValue.text(value.isoformat())
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    return None


def table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue[Any]:
    """Returns a small table as Markdown."""
    names = list(columns)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def check_result(report: Any, *, name: str | None = None) -> dg.AssetCheckResult:
    """Returns how a check of a tier went.

    Args:
        report: has `looked_at`, `bad`, `examples`, `remedy` and `ok`; ids and keys only.
        name: of the check, where the asset itself yields it.
    """
    return dg.AssetCheckResult(
        passed=report.ok,
        check_name=name,
        metadata={"looked_at": report.looked_at, "bad": report.bad, "examples": ", ".join(report.examples)},
        description=None if report.ok else f"{report.bad} of {report.looked_at} are bad. {report.remedy}",
    )
