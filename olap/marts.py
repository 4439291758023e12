"""Every mart that is published, in the order in which marts can be made.

DDL, comments in the published file, docs, Dagster's metadata and contract checks come from these declarations; the SELECTs
are in sql/facts/, sql/marts/ and rates.py. Does not belong here: how marts are made or published.
"""

from __future__ import annotations

from pathlib import Path

from penguinmails.olap.declarations import Mart
from penguinmails.olap.facts import FACTS
from penguinmails.olap.marts_business import BUSINESS
from penguinmails.olap.marts_mail import ANALYTICS, DAILY, WEEKLY
from penguinmails.olap.rates import RATES
from penguinmails.olap.selects import read_select

MARTS: tuple[Mart, ...] = (*FACTS, *DAILY, *WEEKLY, *ANALYTICS, *BUSINESS, *RATES)

RELATIONS = ("billing_periods", "mailbox_health", "lead_states", "lead_daily_in_scope")
"""What several marts are made from and nobody is given; in sql/relations/."""


def relation_sql(name: str) -> str:
    """Returns the SELECT of one of RELATIONS."""
    return read_select(Path(__file__).parent / "sql" / "relations" / f"{name}.sql")


def mart(name: str) -> Mart:
    """Returns the mart of that name; raises `KeyError` when there is none."""
    return {found.name: found for found in MARTS}[name]
