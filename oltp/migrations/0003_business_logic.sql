-- Workspaces, sending domains, mailboxes, leads, templates and how they are filed.
-- Addresses and domains are stored in lower case: lower() is not leakproof, so under row level security it loses its index.

SET LOCAL ROLE pm_owner;

CREATE TABLE companies (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    name varchar(100) NOT NULL,
    workspace_name varchar(255),
    email varchar(255),
    logo_url text,
    status varchar(20) NOT NULL DEFAULT 'active',
    industry varchar(100),
    company_size varchar(50),
    settings jsonb,
    onboarding_started_at timestamptz,
    onboarding_completed_at timestamptz,
    hide_onboarding boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    deleted timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, workspace_name),
    CONSTRAINT companies_status_is_known CHECK (status IN ('active', 'inactive', 'suspended')),
    CONSTRAINT companies_email_is_lower_case CHECK (email = lower(email))
);

CREATE TABLE domains (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    company_id uuid NOT NULL,
    domain varchar(253) NOT NULL,
    verification_status varchar(50) NOT NULL DEFAULT 'pending',
    dns_records jsonb,
    is_primary boolean NOT NULL DEFAULT false,
    verified timestamptz,
    mailu_domain text,
    dns_ttl_observed integer,
    dns_last_verified_at timestamptz,
    dns_verification_error text,
    dns_verification_attempts integer NOT NULL DEFAULT 0,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, domain),
    FOREIGN KEY (tenant_id, company_id) REFERENCES companies ON DELETE CASCADE,
    CONSTRAINT domains_domain_is_lower_case CHECK (domain = lower(domain)),
    CONSTRAINT domains_verification_status_is_known CHECK (verification_status IN ('pending', 'verified', 'failed', 'error')),
    CONSTRAINT domains_dns_ttl_observed_is_positive CHECK (dns_ttl_observed >= 0),
    CONSTRAINT domains_dns_verification_attempts_is_positive CHECK (dns_verification_attempts >= 0)
);

-- A domain that has proven its owner belongs to one tenant of the whole platform: on purpose the only unique key across tenants.
CREATE UNIQUE INDEX domains_verified_unique ON domains (domain) WHERE verification_status = 'verified';

CREATE UNIQUE INDEX domains_one_primary_per_company ON domains (tenant_id, company_id) WHERE is_primary;

CREATE INDEX domains_company_index ON domains (tenant_id, company_id);

CREATE TABLE email_accounts (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    domain_id uuid NOT NULL,
    email varchar(255) NOT NULL,
    provider varchar(50) NOT NULL DEFAULT 'mailu',
    vault_key_path varchar(500),
    imap_settings jsonb,
    smtp_settings jsonb,
    status varchar(50) NOT NULL DEFAULT 'active',
    last_warmed timestamptz,
    daily_count integer NOT NULL DEFAULT 0,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains ON DELETE CASCADE,
    CONSTRAINT email_accounts_email_is_lower_case CHECK (email = lower(email)),
    CONSTRAINT email_accounts_status_is_known CHECK (status IN ('active', 'inactive', 'warming', 'paused', 'error')),
    CONSTRAINT email_accounts_daily_count_is_positive CHECK (daily_count >= 0)
) WITH (fillfactor = 85);

CREATE INDEX email_accounts_domain_index ON email_accounts (tenant_id, domain_id);

CREATE TABLE leads (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    email varchar(255) NOT NULL,
    name varchar(200),
    company varchar(200),
    status varchar(20) NOT NULL DEFAULT 'active',
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email),
    CONSTRAINT leads_email_is_lower_case CHECK (email = lower(email)),
    CONSTRAINT leads_status_is_known CHECK (status IN ('active', 'unsubscribed', 'bounced', 'complained'))
) WITH (fillfactor = 90);

CREATE INDEX leads_list_index ON leads (tenant_id, status, updated DESC, id DESC) INCLUDE (email, name, company);

CREATE INDEX leads_recent_index ON leads (tenant_id, updated DESC, id DESC) INCLUDE (email, name, company, status);

-- Serves `email ^@ 'prefix'`, which is leakproof; LIKE is not.
CREATE INDEX leads_email_prefix_index ON leads (tenant_id, email varchar_pattern_ops);

CREATE TABLE templates (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    name varchar(100) NOT NULL,
    subject varchar(255),
    content text,
    is_started boolean NOT NULL DEFAULT false,
    usage_count integer NOT NULL DEFAULT 0,
    last_used timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT templates_usage_count_is_positive CHECK (usage_count >= 0)
) WITH (fillfactor = 85);

CREATE INDEX templates_recent_index ON templates (tenant_id, created DESC, id DESC);

CREATE TABLE folders (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    name text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE template_folders (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    template_id uuid NOT NULL,
    folder_id bigint NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, template_id, folder_id),
    FOREIGN KEY (tenant_id, template_id) REFERENCES templates ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, folder_id) REFERENCES folders ON DELETE CASCADE
);

CREATE INDEX template_folders_folder_index ON template_folders (tenant_id, folder_id) INCLUDE (template_id);

-- Default tags are rows of each tenant: a tag without a tenant would need a policy that lets every tenant see it.
CREATE TABLE tags (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    value text NOT NULL,
    name text,
    description text,
    is_default boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, value)
);

CREATE TABLE template_tags (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    template_id uuid NOT NULL,
    tag_id bigint NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, template_id, tag_id),
    FOREIGN KEY (tenant_id, template_id) REFERENCES templates ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tag_id) REFERENCES tags ON DELETE CASCADE
);

CREATE INDEX template_tags_tag_index ON template_tags (tenant_id, tag_id);

CREATE TABLE email_templates (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    name text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    async boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE template_dictionaries (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    key text NOT NULL,
    value jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, key)
);

CALL app.isolate_by_tenant('companies');
CALL app.isolate_by_tenant('domains');
CALL app.isolate_by_tenant('email_accounts');
CALL app.isolate_by_tenant('leads');
CALL app.isolate_by_tenant('templates');
CALL app.isolate_by_tenant('folders');
CALL app.isolate_by_tenant('template_folders');
CALL app.isolate_by_tenant('tags');
CALL app.isolate_by_tenant('template_tags');
CALL app.isolate_by_tenant('email_templates');
CALL app.isolate_by_tenant('template_dictionaries');

RESET ROLE;
