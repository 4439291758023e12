"""Declarations of the section billing: what each table and column means.

The DDL is in migrations/0005_billing.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import CREATED, ID, TENANT_ID, UPDATED, Column, Isolation, Section, Table

PLANS = Table(
    "plans",
    section=Section.BILLING,
    meaning="A plan that can be subscribed to.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    columns=(
        ID,
        Column("name", "varchar(100)", "Name of the plan.", required=True),
        Column("slug", "varchar(100)", "Machine name of the plan.", required=True),
        Column("description", "text", "What the plan offers."),
        Column("max_users", "integer", "Most users of a tenant; empty: no limit.", unit="count"),
        Column("max_domains", "integer", "Most domains of a tenant; empty: no limit.", unit="count"),
        Column(
            "max_campaigns_per_month", "integer", "Most campaigns started in a month; empty: no limit.", unit="count"
        ),
        Column("api_rate_limit", "integer", "Most API requests in a minute; empty: no limit.", unit="count"),
        Column("max_email_accounts", "integer", "Most mailboxes of a tenant; empty: no limit.", unit="count"),
        Column("max_emails_per_month", "integer", "Most messages sent in a month; empty: no limit.", unit="count"),
        Column("max_warmups", "integer", "Most mailboxes warming at once; empty: no limit.", unit="count"),
        Column("max_contacts", "integer", "Most leads of a tenant; empty: no limit.", unit="count"),
        Column("max_storage_gb", "integer", "Most storage of message bodies; empty: no limit.", unit="gigabytes"),
        Column("api_access", "boolean", "The API may be used.", required=True),
        Column("priority_support", "boolean", "Support answers these tenants first.", required=True),
        Column("advanced_analytics", "boolean", "Advanced analytics may be used.", required=True),
        Column("white_label", "boolean", "The tenant's own brand is shown.", required=True),
        Column("price_monthly", "integer", "Price of a month.", unit="cents"),
        Column("price_yearly", "integer", "Price of a year.", unit="cents"),
        Column("notes", "text", "Internal notes."),
        Column("is_active", "boolean", "False hides the plan from purchase; subscribers keep renewing.", required=True),
        Column("stripe_product_id", "varchar(255)", "Stripe's product."),
        CREATED,
        UPDATED,
    ),
)

SUBSCRIPTIONS = Table(
    "subscriptions",
    section=Section.BILLING,
    meaning="A tenant's subscription; at most one is live.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("plans", "tenant_users", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("plan_id", "uuid", "Plan in force.", required=True),
        Column("pending_plan_id", "uuid", "Plan that takes effect at the end of the period."),
        Column(
            "status",
            "varchar(50)",
            "Stripe's state: active, past_due, canceled, unpaid, trialing, incomplete, incomplete_expired or paused.",
            required=True,
        ),
        Column("current_period_start", "timestamptz", "Start of the period that is paid for."),
        Column("current_period_end", "timestamptz", "End of the period that is paid for."),
        Column("cancel_at_period_end", "boolean", "The subscription ends with the period.", required=True),
        Column("cancel_reason", "text", "Why it was cancelled."),
        Column("cancel_date", "timestamptz", "When it was cancelled."),
        Column("billing_contact_user_id", "uuid", "Member of the tenant who is asked about bills."),
        Column("stripe_subscription_id", "varchar(255)", "Stripe's subscription."),
        CREATED,
        UPDATED,
    ),
)

SUBSCRIPTION_ADDONS = Table(
    "subscription_addons",
    section=Section.BILLING,
    meaning="Something added to a subscription.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("subscriptions", "tenants"),
    columns=(
        TENANT_ID,
        Column("id", "varchar(255)", "Stripe's subscription item.", required=True),
        Column("subscription_id", "uuid", "Subscription the add-on belongs to.", required=True),
        Column("addon_type", "varchar(50)", "What is added, for example dedicated_ip.", required=True),
        Column("quantity", "integer", "How many of it.", unit="count", required=True),
        Column("price_monthly", "numeric(10,2)", "Price of one in a month.", unit="currency units"),
        Column("stripe_price_id", "varchar(255)", "Stripe's price."),
        Column("is_active", "boolean", "False once the add-on was given up.", required=True),
        CREATED,
        UPDATED,
    ),
)

PAYMENTS = Table(
    "payments",
    section=Section.BILLING,
    meaning="A payment for a subscription.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("subscriptions", "tenant_users", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("subscription_id", "uuid", "Subscription that is paid.", required=True),
        Column("initiated_by_user_id", "uuid", "Member of the tenant who paid; empty for renewals."),
        Column("amount", "numeric(10,2)", "Amount.", unit="currency units", required=True),
        Column("currency", "character(3)", "ISO 4217 code.", required=True),
        Column("status", "varchar(20)", "pending, succeeded, failed or refunded.", required=True),
        Column("processed", "timestamptz", "When Stripe settled it."),
        Column("description", "text", "What is paid for."),
        Column("stripe_payment_intent_id", "varchar(255)", "Stripe's payment intent."),
        Column("billing_period_start", "timestamptz", "Start of the period paid for."),
        Column("billing_period_end", "timestamptz", "End of the period paid for."),
        CREATED,
    ),
)

SECTION_TABLES = (
    PLANS,
    SUBSCRIPTIONS,
    SUBSCRIPTION_ADDONS,
    PAYMENTS,
)
