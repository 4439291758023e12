"""Declarations of the section business_logic: what each table and column means.

The DDL is in migrations/0003_business_logic.sql; schema.differences() compares the two.
"""

from __future__ import annotations

from penguinmails.oltp.table_model import (
    CREATED,
    ID,
    NUMBER,
    TENANT_ID,
    UPDATED,
    Column,
    Isolation,
    PersonalData,
    Section,
    Table,
)

COMPANIES = Table(
    "companies",
    section=Section.BUSINESS_LOGIC,
    meaning="A workspace of a tenant.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column("name", "varchar(100)", "Name of the workspace's company.", required=True),
        Column(
            "workspace_name",
            "varchar(255)",
            "Name in the workspace's address; unique within the tenant only, or it would tell tenants about one another.",
        ),
        Column(
            "email",
            "varchar(255)",
            "Contact address of the company, lower case.",
            personal=PersonalData.CONTACT,
        ),
        Column("logo_url", "text", "Address of the logo."),
        Column("status", "varchar(20)", "active, inactive or suspended.", required=True),
        Column("industry", "varchar(100)", "Industry the company names."),
        Column("company_size", "varchar(50)", "Size bracket the company names."),
        Column("settings", "jsonb", "The application's own settings of the workspace."),
        Column("onboarding_started_at", "timestamptz", "When onboarding began."),
        Column("onboarding_completed_at", "timestamptz", "When onboarding was finished."),
        Column("hide_onboarding", "boolean", "The workspace asked not to see onboarding again.", required=True),
        CREATED,
        UPDATED,
        Column("deleted", "timestamptz", "When the workspace was removed."),
    ),
)

DOMAINS = Table(
    "domains",
    section=Section.BUSINESS_LOGIC,
    meaning="A domain that a workspace sends mail from, with its DNS records.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("companies", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("company_id", "uuid", "Workspace that sends from the domain.", required=True),
        Column("domain", "varchar(253)", "Domain name, lower case.", required=True),
        Column("verification_status", "varchar(50)", "pending, verified, failed or error.", required=True),
        Column(
            "dns_records",
            "jsonb",
            'Object with "records": SPF, DKIM, DMARC, MX, A, AAAA and CNAME records as wanted and as seen.',
        ),
        Column("is_primary", "boolean", "The company's primary domain; at most one.", required=True),
        Column("verified", "timestamptz", "When the domain was verified."),
        Column("mailu_domain", "text", "Name of the domain in Mailu."),
        Column("dns_ttl_observed", "integer", "Time to live seen on the records.", unit="seconds"),
        Column("dns_last_verified_at", "timestamptz", "When the records were last looked up."),
        Column("dns_verification_error", "text", "Why the last look-up failed."),
        Column("dns_verification_attempts", "integer", "Look-ups so far.", unit="count", required=True),
        CREATED,
        UPDATED,
    ),
)

EMAIL_ACCOUNTS = Table(
    "email_accounts",
    section=Section.BUSINESS_LOGIC,
    meaning="A mailbox that sends and receives.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("domains", "tenants"),
    columns=(
        TENANT_ID,
        ID,
        Column("domain_id", "uuid", "Domain of the mailbox.", required=True),
        Column(
            "email",
            "varchar(255)",
            "Address of the mailbox, lower case.",
            required=True,
            personal=PersonalData.CONTACT,
        ),
        Column("provider", "varchar(50)", "Who hosts the mailbox.", required=True),
        Column("vault_key_path", "varchar(500)", "Where the vault keeps the password; never the password."),
        Column("imap_settings", "jsonb", "Host, port and security of IMAP; no password."),
        Column("smtp_settings", "jsonb", "Host, port and security of SMTP; no password."),
        Column("status", "varchar(50)", "active, inactive, warming, paused or error.", required=True),
        Column("last_warmed", "timestamptz", "When the mailbox last took part in a warm-up."),
        Column("daily_count", "integer", "Messages sent today.", unit="count", required=True),
        CREATED,
        UPDATED,
    ),
)

LEADS = Table(
    "leads",
    section=Section.BUSINESS_LOGIC,
    meaning="A person a tenant writes to.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column(
            "email",
            "varchar(255)",
            "Address of the lead, lower case.",
            required=True,
            personal=PersonalData.CONTACT,
        ),
        Column("name", "varchar(200)", "Name of the lead.", personal=PersonalData.NAME),
        Column("company", "varchar(200)", "Company the lead works for.", personal=PersonalData.NAME),
        Column("status", "varchar(20)", "active, unsubscribed, bounced or complained.", required=True),
        CREATED,
        UPDATED,
    ),
)

TEMPLATES = Table(
    "templates",
    section=Section.BUSINESS_LOGIC,
    meaning="A message template of the application.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column("name", "varchar(100)", "Name of the template.", required=True),
        Column("subject", "varchar(255)", "Subject with placeholders."),
        Column("content", "text", "Body with placeholders."),
        Column("is_started", "boolean", "Marked as a favourite (the application calls it starred).", required=True),
        Column("usage_count", "integer", "How often the template was used.", unit="count", required=True),
        Column("last_used", "timestamptz", "When it was last used."),
        CREATED,
        UPDATED,
    ),
)

FOLDERS = Table(
    "folders",
    section=Section.BUSINESS_LOGIC,
    meaning="A folder that templates are filed in.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        NUMBER,
        Column("name", "text", "Name of the folder; unique within the tenant.", required=True),
        CREATED,
        UPDATED,
    ),
)

TEMPLATE_FOLDERS = Table(
    "template_folders",
    section=Section.BUSINESS_LOGIC,
    meaning="A template filed in a folder.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("folders", "templates", "tenants"),
    columns=(
        TENANT_ID,
        NUMBER,
        Column("template_id", "uuid", "Template that is filed.", required=True),
        Column("folder_id", "bigint", "Folder it is filed in.", required=True),
        CREATED,
        UPDATED,
    ),
)

TAGS = Table(
    "tags",
    section=Section.BUSINESS_LOGIC,
    meaning="A label for templates.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        NUMBER,
        Column("value", "text", "Machine name of the tag; unique within the tenant.", required=True),
        Column("name", "text", "Name people see."),
        Column("description", "text", "What the tag is for."),
        Column("is_default", "boolean", "Copied to every tenant when it is made.", required=True),
        CREATED,
        UPDATED,
    ),
)

TEMPLATE_TAGS = Table(
    "template_tags",
    section=Section.BUSINESS_LOGIC,
    meaning="A label on a template.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tags", "templates", "tenants"),
    columns=(
        TENANT_ID,
        NUMBER,
        Column("template_id", "uuid", "Template that is tagged.", required=True),
        Column("tag_id", "bigint", "Tag it carries.", required=True),
        CREATED,
        UPDATED,
    ),
)

EMAIL_TEMPLATES = Table(
    "email_templates",
    section=Section.BUSINESS_LOGIC,
    meaning="A message source in the Eta language.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column("name", "text", "Name of the Eta source; unique within the tenant.", required=True),
        Column("subject", "text", "Subject as Eta source.", required=True),
        Column("body", "text", "Body as Eta source.", required=True),
        Column("async", "boolean", "The source must be rendered asynchronously.", required=True),
        CREATED,
        UPDATED,
    ),
)

TEMPLATE_DICTIONARIES = Table(
    "template_dictionaries",
    section=Section.BUSINESS_LOGIC,
    meaning="A placeholder's value.",
    isolation=Isolation.TENANT,
    tenant_key="tenant_id",
    primary_key=("tenant_id", "id"),
    references=("tenants",),
    columns=(
        TENANT_ID,
        ID,
        Column("key", "text", "Name of a placeholder; unique within the tenant.", required=True),
        Column("value", "jsonb", "What the placeholder stands for.", required=True),
        CREATED,
    ),
)

SECTION_TABLES = (
    COMPANIES,
    DOMAINS,
    EMAIL_ACCOUNTS,
    LEADS,
    TEMPLATES,
    FOLDERS,
    TEMPLATE_FOLDERS,
    TAGS,
    TEMPLATE_TAGS,
    EMAIL_TEMPLATES,
    TEMPLATE_DICTIONARIES,
)
