"""Partitions: UTC days, and nothing else. The tenant is a column, never a partition.

What a day means: the day on which a message was taken in (content) or something happened to it (OLAP). Running a day
again is always safe. Rows that belong to days before the first partition are stored and rolled up like any other; they
only have no box of their own in Dagster's UI.
"""

from __future__ import annotations

import os
from datetime import date

import dagster as dg

from penguinmails.stack.errors import SettingsError

FIRST_DAY_VARIABLE = "PENGUINMAILS_FIRST_DAY"
_DEFAULT_FIRST_DAY = "2026-01-01"


def first_day() -> str:
    """Returns the first day that has a partition, `YYYY-MM-DD`.

    Raises:
        SettingsError: PENGUINMAILS_FIRST_DAY is not a date.
    """
    text = os.environ.get(FIRST_DAY_VARIABLE) or _DEFAULT_FIRST_DAY
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise SettingsError(FIRST_DAY_VARIABLE, "is not a date", "Write it as YYYY-MM-DD or unset it.") from None


# The present day has a partition too: `penguinmails run` works on it.
DAILY = dg.DailyPartitionsDefinition(start_date=first_day(), timezone="UTC", end_offset=1)


def days_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> tuple[date, date]:
    """Returns the first and the last day of a run, both included."""
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end)
