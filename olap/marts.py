"""Every mart that is published, declared once.

DDL, comments in the published file, docs, Dagster's metadata and contract checks come from here; the SELECTs are in
sql/marts/ (and sql/facts/ for facts). Does not belong here: how they are made or published.
"""

from __future__ import annotations

from penguinmails.olap.declarations import Column, Kind, Mart
from penguinmails.olap.facts import FACTS, TENANT
from penguinmails.olap.measures import MEASURE_COLUMNS

UPDATED = Column(
    "updated", "TIMESTAMP", "UTC time up to which the row is complete.", source="moment the last batch was read at"
)

CAMPAIGN_ANALYTICS = Mart(
    name="campaign_analytics",
    kind=Kind.TABLE,
    grain="tenant x campaign",
    description="What every campaign has done so far.",
    key=("tenant_id", "campaign_id"),
    columns=(
        TENANT,
        Column("campaign_id", "UUID", "Campaign.", source="campaigns.id"),
        Column("company_id", "UUID", "Workspace that runs the campaign.", source="campaigns.company_id"),
        Column("status", "VARCHAR", "draft, scheduled, sending, completed or paused.", source="campaigns.status"),
        *MEASURE_COLUMNS,
        Column(
            "completed_leads",
            "BIGINT",
            "Leads for whom the campaign is over.",
            "leads",
            "leads who replied, bounced, unsubscribed or complained, or who were sent the last active e-mail step",
        ),
        UPDATED,
    ),
    depends_on=("email_daily", "lead_daily", "campaigns", "campaign_sequence_steps"),
)

MARTS: tuple[Mart, ...] = (*FACTS, CAMPAIGN_ANALYTICS)
"""In the order in which they can be made."""


def mart(name: str) -> Mart:
    """Returns the mart of that name; raises `KeyError` when there is none."""
    return {found.name: found for found in MARTS}[name]
