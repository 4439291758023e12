"""Declarations of the section campaigns: what each table and column means.

The DDL is in migrations/0004_campaigns.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import CREATED, ID, TENANT_ID, UPDATED, Column, Isolation, Section, Table

CAMPAIGNS = Table(
    "campaigns",
    section=Section.CAMPAIGNS,
    meaning="A campaign: a sequence of steps sent to leads.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("companies", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("company_id", "uuid", "Workspace that runs the campaign.", required=True),
        Column("name", "varchar(200)", "Name of the campaign.", required=True),
        Column("description", "text", "What the campaign is about."),
        Column("status", "varchar(50)", "draft, scheduled, sending, completed or paused.", required=True),
        Column("scheduled", "timestamptz", "When sending is to begin."),
        Column("completed", "timestamptz", "When the last message had been sent."),
        CREATED,
        UPDATED,
    ),
)

CAMPAIGN_SEQUENCE_STEPS = Table(
    "campaign_sequence_steps",
    section=Section.CAMPAIGNS,
    meaning="A step of a campaign: a message, a wait or a condition.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("campaigns", "email_accounts", "templates", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("campaign_id", "uuid", "Campaign the step belongs to.", required=True),
        Column("step_order", "integer", "Place in the sequence, from 1; unique within the campaign.", required=True),
        Column("step_type", "varchar(50)", "email, wait or condition.", required=True),
        Column("email_account_id", "uuid", "Mailbox an email step sends from; empty: any mailbox of the workspace."),
        Column("template_id", "uuid", "Template an email step sends."),
        Column("subject_override", "varchar(500)", "Subject instead of the template's."),
        Column("from_name_override", "varchar(100)", "Sender's name instead of the mailbox's."),
        Column("wait_duration_hours", "integer", "How long a wait step waits.", unit="hours"),
        Column("wait_until_date", "timestamptz", "Until when a wait step waits, instead of a duration."),
        Column(
            "condition_type",
            "varchar(50)",
            "What a condition step looks at: opened, clicked, replied or their opposites.",
        ),
        Column("condition_value", "varchar(100)", "What the condition compares with."),
        Column("send_condition", "text", "Further condition of an email step, in the application's own terms."),
        Column(
            "is_active",
            "boolean",
            "False takes the step out; steps are not deleted once they have sent.",
            required=True,
        ),
        Column("executed_count", "integer", "How often the step ran.", unit="count", required=True),
        Column("last_executed", "timestamptz", "When it last ran."),
        CREATED,
        UPDATED,
    ),
)

SECTION_TABLES = (
    CAMPAIGNS,
    CAMPAIGN_SEQUENCE_STEPS,
)
