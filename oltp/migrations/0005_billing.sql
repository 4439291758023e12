-- Plans, subscriptions, add-ons and payments. Stripe is the truth: here are references and the state of access.
-- Amounts: plans in cents, the rest in units of the currency. Never filter by a numeric amount in the application: its
-- comparison is not leakproof, so under row level security it gets no index.

SET LOCAL ROLE pm_owner;

CREATE TABLE plans (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    name varchar(100) NOT NULL,
    slug varchar(100) NOT NULL UNIQUE,
    description text,
    max_users integer,
    max_domains integer,
    max_campaigns_per_month integer,
    api_rate_limit integer,
    max_email_accounts integer,
    max_emails_per_month integer,
    max_warmups integer,
    max_contacts integer,
    max_storage_gb integer,
    api_access boolean NOT NULL DEFAULT false,
    priority_support boolean NOT NULL DEFAULT false,
    advanced_analytics boolean NOT NULL DEFAULT false,
    white_label boolean NOT NULL DEFAULT false,
    price_monthly integer,
    price_yearly integer,
    notes text,
    is_active boolean NOT NULL DEFAULT true,
    stripe_product_id varchar(255),
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CONSTRAINT plans_price_monthly_is_positive CHECK (price_monthly >= 0),
    CONSTRAINT plans_price_yearly_is_positive CHECK (price_yearly >= 0)
);

CREATE UNIQUE INDEX plans_stripe_product_unique ON plans (stripe_product_id) WHERE stripe_product_id IS NOT NULL;

CREATE TABLE subscriptions (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    plan_id uuid NOT NULL REFERENCES plans,
    pending_plan_id uuid REFERENCES plans,
    status varchar(50) NOT NULL DEFAULT 'incomplete',
    current_period_start timestamptz,
    current_period_end timestamptz,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    cancel_reason text,
    cancel_date timestamptz,
    billing_contact_user_id uuid,
    stripe_subscription_id varchar(255),
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, stripe_subscription_id),
    FOREIGN KEY (tenant_id, billing_contact_user_id) REFERENCES tenant_users ON DELETE SET NULL (billing_contact_user_id),
    CONSTRAINT subscriptions_status_is_known CHECK (
        status IN ('active', 'past_due', 'canceled', 'unpaid', 'trialing', 'incomplete', 'incomplete_expired', 'paused')
    ),
    CONSTRAINT subscriptions_period_ends_after_start CHECK (current_period_end > current_period_start)
);

CREATE UNIQUE INDEX subscriptions_one_live_per_tenant ON subscriptions (tenant_id)
    WHERE status IN ('active', 'past_due', 'trialing');

-- Stripe's webhook knows this id and no tenant.
CREATE INDEX subscriptions_stripe_index ON subscriptions (stripe_subscription_id);

CREATE INDEX subscriptions_plan_index ON subscriptions (plan_id);

CREATE INDEX subscriptions_pending_plan_index ON subscriptions (pending_plan_id);

CREATE INDEX subscriptions_contact_index ON subscriptions (tenant_id, billing_contact_user_id);

CREATE TABLE subscription_addons (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id varchar(255) NOT NULL,
    subscription_id uuid NOT NULL,
    addon_type varchar(50) NOT NULL,
    quantity integer NOT NULL DEFAULT 1,
    price_monthly numeric(10, 2),
    stripe_price_id varchar(255),
    is_active boolean NOT NULL DEFAULT true,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions ON DELETE CASCADE,
    CONSTRAINT subscription_addons_quantity_is_positive CHECK (quantity > 0),
    CONSTRAINT subscription_addons_price_is_positive CHECK (price_monthly >= 0)
);

CREATE INDEX subscription_addons_subscription_index ON subscription_addons (tenant_id, subscription_id);

CREATE TABLE payments (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    subscription_id uuid NOT NULL,
    initiated_by_user_id uuid,
    amount numeric(10, 2) NOT NULL,
    currency char(3) NOT NULL DEFAULT 'USD',
    status varchar(20) NOT NULL DEFAULT 'pending',
    processed timestamptz,
    description text,
    stripe_payment_intent_id varchar(255),
    billing_period_start timestamptz,
    billing_period_end timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, stripe_payment_intent_id),
    FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions ON DELETE RESTRICT,
    FOREIGN KEY (tenant_id, initiated_by_user_id) REFERENCES tenant_users ON DELETE SET NULL (initiated_by_user_id),
    CONSTRAINT payments_amount_is_positive CHECK (amount >= 0),
    CONSTRAINT payments_currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payments_status_is_known CHECK (status IN ('pending', 'succeeded', 'failed', 'refunded'))
);

CREATE INDEX payments_last_index ON payments (tenant_id, subscription_id, created DESC) INCLUDE (status, amount, processed);

CREATE INDEX payments_user_index ON payments (tenant_id, initiated_by_user_id);

CALL app.keep_for_platform('plans', 'id');
CALL app.isolate_by_tenant('subscriptions');
CALL app.isolate_by_tenant('subscription_addons');
CALL app.isolate_by_tenant('payments');

-- The catalogue of plans is public within the platform.
CREATE POLICY catalogue ON plans FOR SELECT TO pm_app USING (id IS NOT NULL);

GRANT SELECT ON plans TO pm_app, pm_reader;

RESET ROLE;
