"""Declarations of the section infrastructure_and_configuration: what each table and column means.

The DDL is in migrations/0006_infrastructure_and_configuration.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import (
    CREATED,
    ID,
    TENANT_ID,
    UPDATED,
    Column,
    Isolation,
    PersonalData,
    Section,
    Table,
)

VPS_INSTANCES = Table(
    "vps_instances",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A rented server that sends mail.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    columns=(
        ID,
        Column("hostwinds_instance_id", "varchar(255)", "The provider's name of the server."),
        Column("ip_address", "inet", "Main address of the server."),
        Column("region", "varchar(50)", "Where the server stands."),
        Column(
            "status",
            "varchar(50)",
            "active, provisioning, scheduled_decommission or decommissioned.",
            required=True,
        ),
        Column("monthly_cost", "numeric(10,2)", "Cost of a month as billed.", unit="US dollars"),
        Column("approximate_cost", "numeric(8,2)", "Cost of a month as estimated.", unit="US dollars"),
        Column("hostwinds_billing_day", "integer", "Day of the month the provider bills."),
        Column("current_billing_period_start", "timestamptz", "Start of the provider's billing period."),
        Column("current_billing_period_end", "timestamptz", "End of the provider's billing period."),
        Column("decommission_scheduled_for", "timestamptz", "When the server is to be given up."),
        CREATED,
        UPDATED,
    ),
)

SMTP_IP_ADDRESSES = Table(
    "smtp_ip_addresses",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="An address that mail is sent from.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    references=("vps_instances",),
    columns=(
        ID,
        Column("vps_instance_id", "uuid", "Server that has the address.", required=True),
        Column("ip_address", "inet", "Address mail is sent from.", required=True),
        Column(
            "status",
            "varchar(50)",
            "available, assigned, warming, warmed, degraded, burned or quarantined.",
            required=True,
        ),
        Column("reputation_state", "varchar(50)", "good, fair, poor or critical."),
        Column(
            "approximate_cost",
            "numeric(6,2)",
            "Cost of a month; 4.99 is the product's figure for a dedicated address.",
            unit="US dollars",
            required=True,
        ),
        Column("last_reputation_check", "timestamptz", "When its reputation was last looked up."),
        Column("assigned_count", "integer", "Domains that send from it.", unit="count", required=True),
        Column("provider_blacklist_status", "jsonb", "Block lists and mail providers, and what each says."),
        CREATED,
        UPDATED,
    ),
)

DOMAIN_IP_ASSIGNMENTS = Table(
    "domain_ip_assignments",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A domain's use of a sending address.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("domains", "smtp_ip_addresses", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("domain_id", "uuid", "Domain that sends from the address.", required=True),
        Column("smtp_ip_address_id", "uuid", "Address it sends from.", required=True),
        Column("status", "varchar(50)", "active, warming, scheduled or expired.", required=True),
        Column("assigned", "timestamptz", "When the assignment began.", required=True),
        Column("expires", "timestamptz", "When it ends."),
        Column("warmup_state", "varchar(50)", "unwarmed, warming or warmed.", required=True),
        Column("last_sent", "timestamptz", "When the domain last sent from the address."),
        CREATED,
        UPDATED,
    ),
)

STAFF_ROLES = Table(
    "staff_roles",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A role of the platform's staff.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    columns=(
        Column("id", "integer", "Identity of the row.", required=True),
        Column("name", "varchar(50)", "Name of the role.", required=True),
        Column("description", "text", "What the role is for."),
        CREATED,
    ),
)

PERMISSIONS = Table(
    "permissions",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="Something staff may be permitted to do.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    columns=(
        Column("id", "integer", "Identity of the row.", required=True),
        Column("name", "varchar(100)", "Name of the permission.", required=True),
        Column("description", "text", "What it permits."),
        Column("category", "varchar(50)", "Group it is shown in.", required=True),
        CREATED,
    ),
)

STAFF_ROLE_PERMISSIONS = Table(
    "staff_role_permissions",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A permission of a staff role.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("role_id", "permission_id"),
    references=("permissions", "staff_roles"),
    columns=(
        Column("role_id", "integer", "Role that has the permission.", required=True),
        Column("permission_id", "integer", "Permission it has.", required=True),
        CREATED,
    ),
)

STAFF_MEMBERS = Table(
    "staff_members",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A user who works for the platform.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("user_id",),
    references=("staff_roles", "users"),
    columns=(
        Column("user_id", "uuid", "User who works for the platform.", required=True),
        Column("role_id", "integer", "Role of the member.", required=True),
        Column("notes", "text", "Internal notes.", personal=PersonalData.NAME),
        CREATED,
        UPDATED,
    ),
)

SYSTEM_CONFIG = Table(
    "system_config",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A setting of the platform.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("key",),
    references=("users",),
    columns=(
        Column("key", "varchar(255)", "Name of the setting, for example stripe_account_id.", required=True),
        Column("value", "jsonb", "Value; masked wherever a sensitive one is shown."),
        Column("description", "varchar(500)", "What the setting does."),
        Column("category", "varchar(50)", "Group it is shown in."),
        Column("is_sensitive", "boolean", "The value must be masked.", required=True),
        Column("updated_by", "uuid", "User who last changed it."),
        UPDATED,
    ),
)

FEATURE_FLAGS = Table(
    "feature_flags",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A switch for a feature.",
    isolation=Isolation.PLATFORM,
    tenant_key=None,
    primary_key=("id",),
    references=("users",),
    columns=(
        ID,
        Column("key", "varchar(100)", "Name of the flag.", required=True),
        Column("description", "text", "What it switches."),
        Column("is_enabled", "boolean", "The flag is on.", required=True),
        Column("rollout_percentage", "integer", "Share of tenants it is on for.", unit="percent", required=True),
        Column("updated_by", "uuid", "User who last changed it."),
        UPDATED,
    ),
)

USER_PREFERENCES = Table(
    "user_preferences",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="What one user prefers.",
    isolation=Isolation.USER,
    tenant_key=None,
    primary_key=("id",),
    references=("users",),
    columns=(
        ID,
        Column("user_id", "uuid", "User they are the preferences of.", required=True),
        Column("theme", "varchar(50)", "light, dark or auto.", required=True),
        Column("language", "varchar(10)", "Language tag.", required=True),
        Column("timezone", "varchar(100)", "IANA time zone.", required=True),
        Column("email_notifications", "boolean", "Notifications by e-mail are wanted.", required=True),
        Column("push_notifications", "boolean", "Push notifications are wanted.", required=True),
        Column("weekly_reports", "boolean", "The weekly report is wanted.", required=True),
        Column("marketing_emails", "boolean", "Marketing e-mail is wanted.", required=True),
        CREATED,
        UPDATED,
    ),
)

TENANT_CONFIG = Table(
    "tenant_config",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A tenant's settings for bills, notifications and looks.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id",),
    references=("tenants",),
    columns=(
        TENANT_ID,
        Column("stripe_customer_id", "varchar(255)", "Stripe's customer."),
        Column("billing_email", "varchar(255)", "Address bills go to, lower case.", personal=PersonalData.CONTACT),
        Column("billing_address", "jsonb", "Postal address on bills.", personal=PersonalData.CONTACT),
        Column("notify_on_billing_changes", "boolean", "Tell the tenant about changes to bills.", required=True),
        Column("notify_on_system_updates", "boolean", "Tell the tenant about updates.", required=True),
        Column("notify_on_security_alerts", "boolean", "Tell the tenant about security.", required=True),
        Column("theme_primary_color", "varchar(7)", "Main colour as #rrggbb."),
        Column("theme_logo_url", "varchar(500)", "Address of the logo."),
        Column("theme_favicon_url", "varchar(500)", "Address of the favicon."),
        Column("ui_sidebar_default_collapsed", "boolean", "The sidebar starts collapsed.", required=True),
        Column("ui_date_format", "varchar(20)", "How dates are shown."),
        Column("ui_timezone", "varchar(50)", "IANA time zone dates are shown in."),
        CREATED,
        UPDATED,
    ),
)

TENANT_POLICIES = Table(
    "tenant_policies",
    section=Section.INFRASTRUCTURE_AND_CONFIGURATION,
    meaning="A tenant's rules for passwords, sessions and workspaces.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id",),
    references=("tenants",),
    columns=(
        TENANT_ID,
        Column("password_min_length", "integer", "Shortest password.", unit="characters", required=True),
        Column("password_require_uppercase", "boolean", "Passwords need an upper-case letter.", required=True),
        Column("password_require_numbers", "boolean", "Passwords need a digit.", required=True),
        Column("password_require_symbols", "boolean", "Passwords need a symbol.", required=True),
        Column("session_timeout_hours", "integer", "How long a session lasts.", unit="hours", required=True),
        Column(
            "max_login_attempts",
            "integer",
            "Failed sign-ins before the account is locked.",
            unit="count",
            required=True,
        ),
        Column("two_factor_required", "boolean", "Every member needs a second factor.", required=True),
        Column(
            "company_default_status",
            "varchar(50)",
            "Status of a new workspace: active, inactive or suspended.",
            required=True,
        ),
        Column("company_allow_member_invites", "boolean", "Members may invite others.", required=True),
        Column("company_auto_approve_members", "boolean", "Invited members need no approval.", required=True),
        Column("company_require_email_verification", "boolean", "Members must verify their address.", required=True),
        CREATED,
        UPDATED,
    ),
)

SECTION_TABLES = (
    VPS_INSTANCES,
    SMTP_IP_ADDRESSES,
    DOMAIN_IP_ASSIGNMENTS,
    STAFF_ROLES,
    PERMISSIONS,
    STAFF_ROLE_PERMISSIONS,
    STAFF_MEMBERS,
    SYSTEM_CONFIG,
    FEATURE_FLAGS,
    USER_PREFERENCES,
    TENANT_CONFIG,
    TENANT_POLICIES,
)
