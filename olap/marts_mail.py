"""Declarations of the marts about mail: campaigns, mailboxes, leads, warm-up, steps, and their daily sums.

Belongs here: those declarations. Does not belong here: billing, cost and audit (marts_business.py).
"""

from __future__ import annotations

from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Following, Kind, Mart
from penguinmails.olap.facts import TENANT
from penguinmails.olap.limits import HEALTH_SCORE, PERIOD_DAYS, WARM_UP_PROGRESS
from penguinmails.olap.measures import MEASURE_COLUMNS
from penguinmails.olap.selects import with_measures

UPDATED = Column(
    "updated", "TIMESTAMP", "UTC time up to which the row is complete.", source="moment the last batch was read at"
)
BILLING = Column(
    "billing_id",
    "UUID",
    "The tenant's newest billing period.",
    source="billing_analytics.id",
    nullable=True,
)
_COMPANY = Column("company_id", "UUID", "Workspace it belongs to.", source="campaigns.company_id, domains.company_id")
_CAMPAIGN = Column("campaign_id", "UUID", "Campaign.", source="campaigns.id")
_MAILBOX = Column("mailbox_id", "UUID", "Mailbox.", source="email_accounts.id")
_ACCOUNT = Column("email_account_id", "UUID", "Mailbox.", source="email_messages.email_account_id")
_STEP = Column(
    "campaign_sequence_step_id", "UUID", "Step of a campaign.", source="email_messages.campaign_sequence_step_id"
)
_STEP_CAMPAIGN = Column("campaign_id", "UUID", "Campaign.", source="email_messages.campaign_id", nullable=True)
_DAY = Column("day", "DATE", "UTC day on which it happened first.", source="email_events.occurred_at")
_HEALTH = Column(
    "health_score",
    "BIGINT",
    f"0 (burned) to 100 (sound), over the {PERIOD_DAYS} days that end with the mailbox's last day of sending; empty before it "
    "sent.",
    "points",
    HEALTH_SCORE,
    nullable=True,
)


_DAILY = """SELECT
    {key},
    {{sums_of_measures}}
FROM email_daily
WHERE direction = 'outbound' AND message_type {kind} 'warmup'{only}
GROUP BY {key}"""


def _daily(name: str, grain: str, description: str, *place: Column, only_warmup: bool = False) -> Mart:
    key = ("tenant_id", *(column.name for column in place), "day")
    select = _DAILY.format(
        key=", ".join(key),
        kind="=" if only_warmup else "<>",
        only="".join(f" AND {column.name} IS NOT NULL" for column in place if not column.nullable),
    )
    return Mart(
        name=name,
        kind=Kind.VIEW,
        grain=grain,
        description=f"{description} Additive: any period is a sum of its days.",
        key=key,
        columns=(TENANT, *place, _DAY, *MEASURE_COLUMNS),
        depends_on=("email_daily",),
        select=with_measures(select),
    )


_WEEKLY = """SELECT
    {place},
    CAST(DATE_TRUNC('week', day) AS DATE) AS week,
    {{sums_of_measures}}
FROM {daily}
GROUP BY {place}, CAST(DATE_TRUNC('week', day) AS DATE)"""
_WEEK = Column("week", "DATE", "Monday of the UTC week in which it happened first.", source="day of the daily sums")


def _weekly(daily: Mart) -> Mart:
    """A week is the sum of its days and never looked up a second time."""
    place = tuple(column for column in daily.columns if column.name in daily.key and column.name != "day")
    names = tuple(column.name for column in place)
    return Mart(
        name=daily.name.replace("_daily", "_weekly"),
        kind=Kind.VIEW,
        grain=daily.grain.replace("day", "week"),
        description=daily.description.partition(" Additive")[0].replace("on each day", "in each week")
        + " From Monday to Sunday, UTC: the sum of its days.",
        key=(*names, "week"),
        columns=(*place, _WEEK, *MEASURE_COLUMNS),
        depends_on=(daily.name,),
        select=with_measures(_WEEKLY.format(place=", ".join(names), daily=daily.name)),
    )


CAMPAIGN_ANALYTICS = Mart(
    name="campaign_analytics",
    kind=Kind.TABLE,
    grain="tenant x campaign",
    description="What every campaign has done so far.",
    key=("tenant_id", "campaign_id"),
    columns=(
        TENANT,
        _CAMPAIGN,
        _COMPANY,
        Column("status", "VARCHAR", "draft, scheduled, sending, completed or paused.", source="campaigns.status"),
        *MEASURE_COLUMNS,
        Column(
            "completed_leads",
            "BIGINT",
            "Leads for whom the campaign is over.",
            "leads",
            "leads who replied, bounced, unsubscribed or complained, or who were sent the last active e-mail step",
        ),
        BILLING,
        UPDATED,
    ),
    depends_on=("campaign_daily", "lead_daily", "campaigns", "campaign_sequence_steps", "subscriptions", "payments"),
)

MAILBOX_ANALYTICS = Mart(
    name="mailbox_analytics",
    kind=Kind.TABLE,
    grain="tenant x mailbox",
    description="What every mailbox has done so far, its health and what it is doing now.",
    key=("tenant_id", "mailbox_id"),
    columns=(
        TENANT,
        _MAILBOX,
        _COMPANY,
        *MEASURE_COLUMNS,
        Column(
            "warmup_status",
            "VARCHAR",
            "unwarmed, warming or warmed.",
            source="progress 0 %, below 100 %, 100 %: see warmup_analytics.progress_percentage",
        ),
        _HEALTH,
        Column(
            "current_volume",
            "BIGINT",
            "Messages sent on its last day of sending, warm-up included.",
            "messages a day",
            "email_cohort_daily.sent of that day",
        ),
        Column(
            "campaign_status",
            "VARCHAR",
            "Liveliest state of the campaigns with a step on this mailbox; empty when there is none.",
            source="campaigns.status: sending before scheduled, paused, draft, completed",
            nullable=True,
        ),
        BILLING,
        UPDATED,
    ),
    depends_on=(
        "mailbox_daily",
        "email_cohort_daily",
        "email_accounts",
        "domains",
        "campaigns",
        "campaign_sequence_steps",
        "subscriptions",
        "payments",
    ),
)

LEAD_ANALYTICS = Mart(
    name="lead_analytics",
    kind=Kind.TABLE,
    grain="tenant x lead x campaign",
    description="What has happened so far with every lead in every campaign it was part of.",
    key=("tenant_id", "lead_id", "campaign_id"),
    columns=(
        TENANT,
        Column("lead_id", "UUID", "Lead.", source="leads.id"),
        _CAMPAIGN,
        Column(
            "status", "VARCHAR", "active, unsubscribed, bounced or complained.", source="leads.status", nullable=True
        ),
        *MEASURE_COLUMNS,
        BILLING,
        UPDATED,
    ),
    depends_on=("lead_daily", "leads", "subscriptions", "payments"),
    following=Following(
        fact="lead_daily",
        states="lead_states",
        state_key=("tenant_id", "lead_id"),
        state_columns=("status", "billing_id"),
    ),
)

WARMUP_ANALYTICS = Mart(
    name="warmup_analytics",
    kind=Kind.TABLE,
    grain="tenant x mailbox that ever sent warm-up mail",
    description="How far the warm-up of a mailbox has come; its measures count warm-up mail only.",
    key=("tenant_id", "mailbox_id"),
    columns=(
        TENANT,
        _MAILBOX,
        _COMPANY,
        *MEASURE_COLUMNS,
        _HEALTH,
        Column(
            "progress_percentage",
            "BIGINT",
            "How far the warm-up has come.",
            "percent",
            WARM_UP_PROGRESS,
        ),
        BILLING,
        UPDATED,
    ),
    depends_on=("warmup_daily", "email_cohort_daily", "email_accounts", "domains", "subscriptions", "payments"),
)

SEQUENCE_STEP_ANALYTICS = Mart(
    name="sequence_step_analytics",
    kind=Kind.TABLE,
    grain="tenant x campaign step",
    description="What every step of every campaign has done so far.",
    key=("tenant_id", "step_id"),
    columns=(
        TENANT,
        Column("step_id", "UUID", "Step.", source="campaign_sequence_steps.id"),
        _CAMPAIGN,
        _COMPANY,
        *MEASURE_COLUMNS,
        BILLING,
        UPDATED,
    ),
    depends_on=("sequence_step_daily", "campaigns", "campaign_sequence_steps", "subscriptions", "payments"),
)

ANALYTICS = (CAMPAIGN_ANALYTICS, MAILBOX_ANALYTICS, LEAD_ANALYTICS, WARMUP_ANALYTICS, SEQUENCE_STEP_ANALYTICS)

DAILY = (
    _daily("tenant_daily", "tenant x day", "What every tenant did on each day."),
    _daily("campaign_daily", "tenant x campaign x day", "What every campaign did on each day.", _CAMPAIGN),
    _daily("mailbox_daily", "tenant x mailbox x day", "What every mailbox did on each day.", _ACCOUNT),
    _daily(
        "sequence_step_daily",
        "tenant x step x campaign x day",
        "What every step did on each day.",
        _STEP,
        _STEP_CAMPAIGN,
    ),
    _daily(
        "warmup_daily",
        "tenant x mailbox x day",
        "What warm-up mail of every mailbox did on each day.",
        _ACCOUNT,
        only_warmup=True,
    ),
)

WEEKLY = tuple(_weekly(daily) for daily in DAILY)
