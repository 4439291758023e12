"""Declarations of the marts about money and accountability: billing, cost, summary, audit.

Belongs here: those declarations. Does not belong here: marts about mail (marts_mail.py).
"""

from __future__ import annotations

from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.facts import TENANT
from penguinmails.olap.limits import PERIOD_DAYS, TENANT_HEALTH
from penguinmails.olap.marts_mail import UPDATED

_MONEY = "units of the platform's currency a month"


def _money(name: str, description: str, formula: str) -> Column:
    return Column(name, "DECIMAL(18,4)", description, _MONEY, formula)


def _count(name: str, description: str, unit: str, formula: str) -> Column:
    return Column(name, "BIGINT", description, unit, formula)


def _text(name: str, description: str, source: str, *, nullable: bool = True) -> Column:
    return Column(name, "VARCHAR", description, source=source, nullable=nullable)


BILLING_ANALYTICS = Mart(
    name="billing_analytics",
    kind=Kind.TABLE,
    grain="tenant x billing period",
    description="What every tenant used in each billing period, in whole UTC days: the day it starts on counts, the day "
    "it ends on belongs to the next. A tenant without any known period has the calendar months in which it sent.",
    key=("tenant_id", "period_start", "period_end"),
    columns=(
        Column("id", "UUID", "Identity of the period; the same in every run.", source="MD5 of tenant, start and end"),
        TENANT,
        Column("subscription_id", "UUID", "Subscription.", source="subscriptions.id", nullable=True),
        _count("emails_sent", "Messages sent, warm-up not counted.", "messages", "sum of email_daily.sent"),
        _count("mailboxes_used", "Mailboxes that sent.", "mailboxes", "distinct mailboxes with sent > 0"),
        _count("domains_used", "Domains of those mailboxes.", "domains", "distinct email_accounts.domain_id"),
        _count("campaigns_used", "Campaigns that sent.", "campaigns", "distinct campaigns with sent > 0"),
        _count("leads_used", "Leads that were written to.", "leads", "distinct leads with sent > 0"),
        _count("warmups_active", "Mailboxes that sent warm-up mail.", "mailboxes", "distinct mailboxes with warm-up"),
        Column("period_start", "TIMESTAMP", "UTC start.", source="subscriptions and payments"),
        Column("period_end", "TIMESTAMP", "UTC end.", source="subscriptions and payments"),
        UPDATED,
    ),
    depends_on=("email_daily", "lead_daily", "email_accounts", "subscriptions", "payments"),
)

ADMIN_AUDIT_LOG = Mart(
    name="admin_audit_log",
    kind=Kind.TABLE,
    grain="audit event",
    description="High-risk administrative actions, as the operational database recorded them.",
    key=("tenant_id", "id"),
    columns=(
        Column("id", "UUID", "Identity of the event.", source="admin_audit_events.id"),
        Column("creation_time", "TIMESTAMP", "UTC time it happened.", source="admin_audit_events.occurred_at"),
        Column("admin_user_id", "UUID", "Who acted.", source="admin_audit_events.actor_user_id", nullable=True),
        _text("action", "What was done.", "admin_audit_events.action", nullable=False),
        _text("resource_type", "Table of what was acted on.", "admin_audit_events.resource_type"),
        _text("resource_id", "Key of what was acted on.", "admin_audit_events.resource_id"),
        Column("tenant_id", "UUID", "Tenant.", source="admin_audit_events.tenant_id"),
        _text("old_values", "Values before, as JSON.", "admin_audit_events.old_values"),
        _text("new_values", "Values after, as JSON.", "admin_audit_events.new_values"),
        _text("ip_address", "Address the actor came from.", "admin_audit_events.ip_address"),
        _text("user_agent", "Client of the actor.", "admin_audit_events.user_agent"),
        _text("notes", "What the actor noted.", "admin_audit_events.notes"),
        _text("metadata", "Further particulars, as JSON.", "admin_audit_events.metadata"),
        _text(
            "data_classification", "public, internal, confidential or restricted.", "admin_audit_events", nullable=False
        ),
        _text("retention_category", "standard, extended or legal.", "admin_audit_events", nullable=False),
    ),
    depends_on=("admin_audit_events",),
)

BUSINESS_COST_ALLOCATION = Mart(
    name="business_cost_allocation",
    kind=Kind.TABLE,
    grain="tenant",
    description="Modelled cost of the servers and addresses a tenant's domains send from.",
    key=("tenant_id",),
    columns=(
        TENANT,
        _count("domains_assigned", "Domains with an address.", "domains", "distinct active or warming assignments"),
        _count("ip_addresses_used", "Addresses those domains send from.", "addresses", "distinct addresses"),
        _money(
            "vps_cost",
            "Share of servers.",
            "server cost / its addresses in use / domains on the address, summed over the tenant's domains",
        ),
        _money("ip_cost", "Share of addresses.", "address cost / domains on the address, summed over its domains"),
        _money("infrastructure_cost", "Both.", "vps_cost + ip_cost"),
        UPDATED,
    ),
    depends_on=("tenants", "domain_ip_assignments", "smtp_ip_addresses", "vps_instances"),
)

EXECUTIVE_BUSINESS_SUMMARY = Mart(
    name="executive_business_summary",
    kind=Kind.TABLE,
    grain="tenant",
    description="What every tenant pays, what it costs, and what comes of it.",
    key=("tenant_id",),
    columns=(
        TENANT,
        _money("plan_price", "Price of the live subscription; 0 without one.", "plans.price_monthly / 100"),
        _money("infrastructure_cost", "Modelled cost.", "business_cost_allocation.infrastructure_cost"),
        _money("margin", "What is left.", "plan_price - infrastructure_cost"),
        _count(
            "emails_sent",
            f"Messages sent in the {PERIOD_DAYS} days to its last activity.",
            "messages",
            "email_daily.sent",
        ),
        _count("emails_delivered", "Messages delivered in those days.", "messages", "email_daily.delivered"),
        Column(
            "cost_per_delivered_email",
            "DECIMAL(18,6)",
            "Cost of one delivered message; empty when none was.",
            "units of the platform's currency",
            "infrastructure_cost / emails_delivered",
            nullable=True,
        ),
        _text(
            "health_status",
            "excellent, good, monitor or critical.",
            f"price / cost: {TENANT_HEALTH}",
            nullable=False,
        ),
        UPDATED,
    ),
    depends_on=("email_daily", "business_cost_allocation", "subscriptions", "plans"),
)

BUSINESS = (BILLING_ANALYTICS, BUSINESS_COST_ALLOCATION, EXECUTIVE_BUSINESS_SUMMARY, ADMIN_AUDIT_LOG)
