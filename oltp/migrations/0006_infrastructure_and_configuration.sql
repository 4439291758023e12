-- Servers and addresses mail is sent from, staff and their permissions, settings, flags, preferences and policies.

SET LOCAL ROLE pm_owner;

CREATE TABLE vps_instances (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    hostwinds_instance_id varchar(255) UNIQUE,
    ip_address inet,
    region varchar(50),
    status varchar(50) NOT NULL DEFAULT 'provisioning',
    monthly_cost numeric(10, 2),
    approximate_cost numeric(8, 2),
    hostwinds_billing_day integer,
    current_billing_period_start timestamptz,
    current_billing_period_end timestamptz,
    decommission_scheduled_for timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CONSTRAINT vps_instances_status_is_known CHECK (
        status IN ('active', 'provisioning', 'scheduled_decommission', 'decommissioned')
    ),
    CONSTRAINT vps_instances_monthly_cost_is_positive CHECK (monthly_cost >= 0),
    CONSTRAINT vps_instances_approximate_cost_is_positive CHECK (approximate_cost >= 0),
    CONSTRAINT vps_instances_billing_day_is_a_day CHECK (hostwinds_billing_day BETWEEN 1 AND 31)
);

CREATE TABLE smtp_ip_addresses (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    vps_instance_id uuid NOT NULL REFERENCES vps_instances ON DELETE CASCADE,
    ip_address inet NOT NULL UNIQUE,
    status varchar(50) NOT NULL DEFAULT 'available',
    reputation_state varchar(50),
    approximate_cost numeric(6, 2) NOT NULL DEFAULT 4.99,
    last_reputation_check timestamptz,
    assigned_count integer NOT NULL DEFAULT 0,
    provider_blacklist_status jsonb,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CONSTRAINT smtp_ip_addresses_status_is_known CHECK (
        status IN ('available', 'assigned', 'warming', 'warmed', 'degraded', 'burned', 'quarantined')
    ),
    CONSTRAINT smtp_ip_addresses_reputation_is_known CHECK (reputation_state IN ('good', 'fair', 'poor', 'critical')),
    CONSTRAINT smtp_ip_addresses_cost_is_positive CHECK (approximate_cost >= 0),
    CONSTRAINT smtp_ip_addresses_assigned_count_is_positive CHECK (assigned_count >= 0)
);

CREATE INDEX smtp_ip_addresses_vps_index ON smtp_ip_addresses (vps_instance_id);

CREATE INDEX smtp_ip_addresses_status_index ON smtp_ip_addresses (status);

CREATE TABLE domain_ip_assignments (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    domain_id uuid NOT NULL,
    smtp_ip_address_id uuid NOT NULL REFERENCES smtp_ip_addresses ON DELETE CASCADE,
    status varchar(50) NOT NULL DEFAULT 'scheduled',
    assigned timestamptz NOT NULL DEFAULT now(),
    expires timestamptz,
    warmup_state varchar(50) NOT NULL DEFAULT 'unwarmed',
    last_sent timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains ON DELETE CASCADE,
    CONSTRAINT domain_ip_assignments_status_is_known CHECK (status IN ('active', 'warming', 'scheduled', 'expired')),
    CONSTRAINT domain_ip_assignments_warmup_state_is_known CHECK (warmup_state IN ('unwarmed', 'warming', 'warmed'))
);

CREATE UNIQUE INDEX domain_ip_assignments_live_unique ON domain_ip_assignments (tenant_id, domain_id, smtp_ip_address_id)
    WHERE status <> 'expired';

CREATE INDEX domain_ip_assignments_domain_index ON domain_ip_assignments (tenant_id, domain_id);

CREATE INDEX domain_ip_assignments_address_index ON domain_ip_assignments (smtp_ip_address_id);

CREATE TABLE staff_roles (
    id integer NOT NULL,
    name varchar(50) NOT NULL UNIQUE,
    description text,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);

CREATE TABLE permissions (
    id integer NOT NULL,
    name varchar(100) NOT NULL UNIQUE,
    description text,
    category varchar(50) NOT NULL DEFAULT 'general',
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);

CREATE TABLE staff_role_permissions (
    role_id integer NOT NULL REFERENCES staff_roles ON DELETE CASCADE,
    permission_id integer NOT NULL REFERENCES permissions ON DELETE CASCADE,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (role_id, permission_id)
);

CREATE INDEX staff_role_permissions_permission_index ON staff_role_permissions (permission_id);

CREATE TABLE staff_members (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role_id integer NOT NULL REFERENCES staff_roles,
    notes text,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id)
);

CREATE INDEX staff_members_role_index ON staff_members (role_id);

CREATE TABLE system_config (
    key varchar(255) NOT NULL,
    value jsonb,
    description varchar(500),
    category varchar(50),
    is_sensitive boolean NOT NULL DEFAULT false,
    updated_by uuid REFERENCES users ON DELETE SET NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key)
);

CREATE INDEX system_config_updated_by_index ON system_config (updated_by);

CREATE TABLE feature_flags (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    key varchar(100) NOT NULL UNIQUE,
    description text,
    is_enabled boolean NOT NULL DEFAULT false,
    rollout_percentage integer NOT NULL DEFAULT 0,
    updated_by uuid REFERENCES users ON DELETE SET NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CONSTRAINT feature_flags_rollout_is_a_percentage CHECK (rollout_percentage BETWEEN 0 AND 100)
);

CREATE INDEX feature_flags_updated_by_index ON feature_flags (updated_by);

CREATE TABLE user_preferences (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    user_id uuid NOT NULL UNIQUE DEFAULT app.current_user_id() REFERENCES users ON DELETE CASCADE,
    theme varchar(50) NOT NULL DEFAULT 'light',
    language varchar(10) NOT NULL DEFAULT 'en',
    timezone varchar(100) NOT NULL DEFAULT 'UTC',
    email_notifications boolean NOT NULL DEFAULT true,
    push_notifications boolean NOT NULL DEFAULT true,
    weekly_reports boolean NOT NULL DEFAULT false,
    marketing_emails boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CONSTRAINT user_preferences_theme_is_known CHECK (theme IN ('light', 'dark', 'auto'))
);

CREATE TABLE tenant_config (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    stripe_customer_id varchar(255),
    billing_email varchar(255),
    billing_address jsonb,
    notify_on_billing_changes boolean NOT NULL DEFAULT false,
    notify_on_system_updates boolean NOT NULL DEFAULT false,
    notify_on_security_alerts boolean NOT NULL DEFAULT false,
    theme_primary_color varchar(7),
    theme_logo_url varchar(500),
    theme_favicon_url varchar(500),
    ui_sidebar_default_collapsed boolean NOT NULL DEFAULT false,
    ui_date_format varchar(20),
    ui_timezone varchar(50),
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_config_billing_email_is_lower_case CHECK (billing_email = lower(billing_email)),
    CONSTRAINT tenant_config_colour_is_hexadecimal CHECK (theme_primary_color ~ '^#[0-9A-Fa-f]{6}$')
);

CREATE TABLE tenant_policies (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    password_min_length integer NOT NULL DEFAULT 8,
    password_require_uppercase boolean NOT NULL DEFAULT false,
    password_require_numbers boolean NOT NULL DEFAULT false,
    password_require_symbols boolean NOT NULL DEFAULT false,
    session_timeout_hours integer NOT NULL DEFAULT 8,
    max_login_attempts integer NOT NULL DEFAULT 5,
    two_factor_required boolean NOT NULL DEFAULT false,
    company_default_status varchar(50) NOT NULL DEFAULT 'active',
    company_allow_member_invites boolean NOT NULL DEFAULT true,
    company_auto_approve_members boolean NOT NULL DEFAULT false,
    company_require_email_verification boolean NOT NULL DEFAULT true,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_policies_password_length_is_sensible CHECK (password_min_length BETWEEN 8 AND 128),
    CONSTRAINT tenant_policies_session_timeout_is_positive CHECK (session_timeout_hours > 0),
    CONSTRAINT tenant_policies_login_attempts_is_positive CHECK (max_login_attempts > 0),
    CONSTRAINT tenant_policies_company_status_is_known CHECK (company_default_status IN ('active', 'inactive', 'suspended'))
);

CALL app.keep_for_platform('vps_instances', 'id');
CALL app.keep_for_platform('smtp_ip_addresses', 'id');
CALL app.isolate_by_tenant('domain_ip_assignments');
CALL app.keep_for_platform('staff_roles', 'id');
CALL app.keep_for_platform('permissions', 'id');
CALL app.keep_for_platform('staff_role_permissions', 'role_id');
CALL app.keep_for_platform('staff_members', 'user_id');
CALL app.keep_for_platform('system_config', 'key');
CALL app.keep_for_platform('feature_flags', 'id');
CALL app.isolate_by_tenant('tenant_config');
CALL app.isolate_by_tenant('tenant_policies');

-- The application asks for a flag by its key.
CREATE POLICY catalogue ON feature_flags FOR SELECT TO pm_app USING (key IS NOT NULL);

GRANT SELECT ON feature_flags TO pm_app;

ALTER TABLE user_preferences ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_preferences FORCE ROW LEVEL SECURITY;

CREATE POLICY own_user ON user_preferences FOR ALL TO pm_app
    USING (user_id = (SELECT app.current_user_id()))
    WITH CHECK (user_id = (SELECT app.current_user_id()));

GRANT SELECT, INSERT, UPDATE, DELETE ON user_preferences TO pm_app, pm_loader;
GRANT SELECT ON user_preferences TO pm_staff;

RESET ROLE;
