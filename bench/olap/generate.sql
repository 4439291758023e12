-- A database of the size the product's documents name, made by the server itself: tenants with their world, then messages
-- with what happened to them. Everything follows from numbers, so the same sizes give the same rows (the times but for the
-- end of the period): ids are digests of names, chances are hashes of numbers.

-- name: plans
INSERT INTO plans (id, name, slug, price_monthly)
SELECT
    md5('plan ' || number)::uuid,
    'plan ' || number,
    'plan-' || number,
    2000 * number
FROM generate_series(1, 3) AS number;

-- name: servers
INSERT INTO vps_instances (id, status, approximate_cost)
SELECT md5('server ' || number)::uuid, 'active', 20
FROM generate_series(1, greatest(%(tenants)s / 20, 1)) AS number;

-- name: addresses
INSERT INTO smtp_ip_addresses (id, vps_instance_id, ip_address)
SELECT
    md5('address ' || number)::uuid,
    md5('server ' || 1 + number %% greatest(%(tenants)s / 20, 1))::uuid,
    inet '10.0.0.0' + number
FROM generate_series(1, greatest(%(tenants)s / 2, 1)) AS number;

-- name: tenants
INSERT INTO tenants (id, name)
SELECT md5('tenant ' || tenant)::uuid, 'tenant ' || tenant
FROM generate_series(1, %(tenants)s) AS tenant;

-- name: companies
INSERT INTO companies (tenant_id, id, name)
SELECT md5('tenant ' || tenant)::uuid, md5('company ' || tenant)::uuid, 'company ' || tenant
FROM generate_series(1, %(tenants)s) AS tenant;

-- name: domains
INSERT INTO domains (tenant_id, id, company_id, domain)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('domain ' || tenant || ' ' || number)::uuid,
    md5('company ' || tenant)::uuid,
    format('d%%s.t%%s.example', number, tenant)
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 1) AS number;

-- name: assignments
INSERT INTO domain_ip_assignments (tenant_id, id, domain_id, smtp_ip_address_id, status)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('assignment ' || tenant || ' ' || number)::uuid,
    md5('domain ' || tenant || ' ' || number)::uuid,
    md5('address ' || 1 + tenant %% greatest(%(tenants)s / 2, 1))::uuid,
    'active'
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 1) AS number;

-- name: mailboxes
INSERT INTO email_accounts (tenant_id, id, domain_id, email)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('mailbox ' || tenant || ' ' || number)::uuid,
    md5('domain ' || tenant || ' ' || number %% 2)::uuid,
    format('m%%s@d%%s.t%%s.example', number, number %% 2, tenant)
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 3) AS number;

-- name: leads
INSERT INTO leads (tenant_id, id, email)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('lead ' || tenant || ' ' || number)::uuid,
    format('l%%s@t%%s.test', number, tenant)
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 199) AS number;

-- name: templates
INSERT INTO templates (tenant_id, id, name)
SELECT md5('tenant ' || tenant)::uuid, md5('template ' || tenant)::uuid, 'template'
FROM generate_series(1, %(tenants)s) AS tenant;

-- name: campaigns
INSERT INTO campaigns (tenant_id, id, company_id, name, status)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('campaign ' || tenant || ' ' || number)::uuid,
    md5('company ' || tenant)::uuid,
    'campaign ' || number,
    'sending'
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 9) AS number;

-- name: steps
INSERT INTO campaign_sequence_steps (
    tenant_id, id, campaign_id, step_order, step_type, template_id, email_account_id
)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('step ' || tenant || ' ' || campaign || ' ' || number)::uuid,
    md5('campaign ' || tenant || ' ' || campaign)::uuid,
    number + 1,
    'email',
    md5('template ' || tenant)::uuid,
    md5('mailbox ' || tenant || ' ' || campaign %% 4)::uuid
FROM generate_series(1, %(tenants)s) AS tenant
CROSS JOIN generate_series(0, 9) AS campaign
CROSS JOIN generate_series(0, 2) AS number;

-- name: subscriptions
INSERT INTO subscriptions (tenant_id, id, plan_id, status, current_period_start, current_period_end)
SELECT
    md5('tenant ' || tenant)::uuid,
    md5('subscription ' || tenant)::uuid,
    md5('plan ' || 1 + tenant %% 3)::uuid,
    'active',
    date_trunc('month', %(until)s::timestamptz),
    date_trunc('month', %(until)s::timestamptz) + interval '1 month'
FROM generate_series(1, %(tenants)s) AS tenant;

-- name: messages_and_events
-- The messages of these numbers, sent one after the other over the days that end at `until`, and what happened to them by
-- then: every twenty-fifth bounces, six of ten are opened, half of these again, and so on; 3.2 events a message.
WITH numbered AS (
    SELECT
        number,
        1 + number %% %(tenants)s AS tenant,
        number / %(tenants)s %% 10 AS campaign,
        number / (%(tenants)s * 10) %% 200 AS lead,
        number / (%(tenants)s * 2000) %% 3 AS step,
        number %% 20 = 7 AS is_warmup,
        md5('message ' || number) AS digest,
        (hashint8(number)::bigint + 2147483648) / 4294967296.0 AS chance,
        (hashint8(number + 1000000007)::bigint + 2147483648) / 4294967296.0 AS other_chance,
        %(until)s::timestamptz
        - %(days)s::double precision * interval '1 day'
        * ((%(last)s::bigint - number)::double precision / (%(last)s::bigint - %(first)s::bigint + 1)) AS sent
    FROM generate_series(%(chunk_first)s::bigint, %(chunk_last)s::bigint) AS number
),

fates AS MATERIALIZED (
    SELECT
        md5('tenant ' || tenant)::uuid AS tenant_id,
        (
            lpad(to_hex((extract(epoch FROM sent) * 1000)::bigint), 12, '0')
            || '7' || substr(digest, 14, 3) || '8' || substr(digest, 18, 15)
        )::uuid AS id,
        md5('company ' || tenant)::uuid AS company_id,
        md5('mailbox ' || tenant || ' ' || campaign %% 4)::uuid AS email_account_id,
        CASE WHEN NOT is_warmup THEN md5('campaign ' || tenant || ' ' || campaign)::uuid END AS campaign_id,
        CASE WHEN NOT is_warmup THEN md5('step ' || tenant || ' ' || campaign || ' ' || step)::uuid END
            AS campaign_sequence_step_id,
        CASE WHEN NOT is_warmup THEN md5('lead ' || tenant || ' ' || lead)::uuid END AS lead_id,
        CASE WHEN is_warmup THEN 'warmup' ELSE 'email' END AS message_type,
        chance,
        other_chance,
        sent
    FROM numbered
),

messages AS (
    INSERT INTO email_messages (
        tenant_id, id, company_id, email_account_id, campaign_id, campaign_sequence_step_id, lead_id, direction,
        message_type, sent
    )
    SELECT
        tenant_id,
        id,
        company_id,
        email_account_id,
        campaign_id,
        campaign_sequence_step_id,
        lead_id,
        'outbound',
        message_type,
        sent
    FROM fates
),

happenings AS (
    SELECT
        fates.*,
        happened.event_type,
        fates.sent + happened.after_hours * interval '1 hour' AS occurred_at
    FROM fates
    CROSS JOIN LATERAL (
        VALUES
            ('sent', 0.0, true),
            ('bounced', 0.01, chance < 0.04),
            ('delivered', 0.02, chance >= 0.04),
            ('opened', 20 * other_chance, chance >= 0.4),
            ('opened', 40 * other_chance, chance >= 0.7),
            ('opened', 90 * other_chance, chance >= 0.85),
            ('clicked', 21 * other_chance, chance >= 0.85),
            ('replied', 30 * other_chance, chance >= 0.95),
            ('unsubscribed', 30 * other_chance, chance BETWEEN 0.5 AND 0.505),
            ('complained', 30 * other_chance, chance BETWEEN 0.6 AND 0.6005)
    ) AS happened (event_type, after_hours, is_so)
    WHERE happened.is_so
)

INSERT INTO email_events (
    tenant_id, message_id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, event_type, occurred_at,
    ingested_at
)
SELECT
    tenant_id,
    id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    event_type,
    occurred_at,
    occurred_at
FROM happenings
WHERE occurred_at <= %(until)s::timestamptz;

-- name: messages
SELECT count(*) FROM email_messages;

-- name: events
SELECT count(*) FROM email_events;

-- name: analyze
ANALYZE;
