"""The facts: additive counts a day, kept up to date by signed differences. Everything else is a sum of them.

Belongs here: their declaration. Their SELECTs are in sql/facts/. Does not belong here: derived marts (marts.py).
"""

from __future__ import annotations

from pathlib import Path

from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.measures import MEASURE_COLUMNS
from penguinmails.olap.selects import read_select

TENANT = Column("tenant_id", "UUID", "Tenant.", source="email_messages.tenant_id")
_COMPANY = Column("company_id", "UUID", "Workspace the message belongs to.", source="email_messages.company_id")
_CAMPAIGN = Column(
    "campaign_id", "UUID", "Campaign the message was sent for.", source="email_messages.campaign_id", nullable=True
)
_STEP = Column(
    "campaign_sequence_step_id",
    "UUID",
    "Step of the campaign the message was sent by.",
    source="email_messages.campaign_sequence_step_id",
    nullable=True,
)
_MAILBOX = Column(
    "email_account_id", "UUID", "Mailbox that sent or received the message.", source="email_messages.email_account_id"
)
_LEAD = Column("lead_id", "UUID", "Lead, the other party.", source="email_messages.lead_id")
_DIRECTION = Column("direction", "VARCHAR", "inbound or outbound.", source="email_messages.direction")
_TYPE = Column("message_type", "VARCHAR", "email, bounce, auto_reply or warmup.", source="email_messages.message_type")
_DAY = Column("day", "DATE", "UTC day on which it happened first.", source="email_events.occurred_at")
_SENT_DAY = Column("sent_day", "DATE", "UTC day on which the message was sent.", source="email_events.occurred_at")
_PLACE = (_COMPANY, _CAMPAIGN, _STEP, _MAILBOX, _DIRECTION, _TYPE)
_SOURCES = ("email_events", "email_messages")
_SQL = Path(__file__).parent / "sql" / "facts"


def _names(*columns: Column) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


EMAIL_DAILY = Mart(
    name="email_daily",
    kind=Kind.FACT,
    grain="tenant x day x workspace x campaign x step x mailbox x direction x message type",
    description="What happened on each day. A message counts once per measure, on the day it first happened to it.",
    key=_names(TENANT, _DAY, *_PLACE),
    columns=(TENANT, _DAY, *_PLACE, *MEASURE_COLUMNS),
    depends_on=_SOURCES,
)

EMAIL_COHORT_DAILY = Mart(
    name="email_cohort_daily",
    kind=Kind.FACT,
    grain="tenant x day of sending x workspace x campaign x step x mailbox x direction x message type",
    description="What became, whenever, of the messages sent on each day. Rates are taken from here.",
    key=_names(TENANT, _SENT_DAY, *_PLACE),
    columns=(TENANT, _SENT_DAY, *_PLACE, *MEASURE_COLUMNS),
    depends_on=_SOURCES,
)

LEAD_DAILY = Mart(
    name="lead_daily",
    kind=Kind.FACT,
    grain="tenant x lead x campaign x step x day",
    description="What happened on each day with each lead in each step of each campaign; warm-up mail does not count.",
    key=_names(TENANT, _LEAD, _CAMPAIGN, _STEP, _DAY),
    columns=(TENANT, _LEAD, _CAMPAIGN, _STEP, _DAY, *MEASURE_COLUMNS),
    depends_on=_SOURCES,
)

FACTS = (EMAIL_DAILY, EMAIL_COHORT_DAILY, LEAD_DAILY)


def fact_select(name: str) -> str:
    """Returns the SELECT of a fact, or of a step towards the facts, of that name."""
    return read_select(_SQL / f"{name}.sql")
