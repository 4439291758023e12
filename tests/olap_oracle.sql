-- PostgreSQL's own answers, written for it and from the tables of the operational database only: what the marts must say.
-- {counts}, {counts_of_cohort} and {rates} are written out in olap_support.py, limits come from olap/limits.py.

-- name: messages
-- Messages as they may be told of: of an erased person only when it was erased.
CREATE TEMP VIEW messages AS
SELECT
    m.tenant_id, m.id, m.company_id, m.campaign_id, m.campaign_sequence_step_id, m.email_account_id, m.direction, m.message_type,
    CASE WHEN l.email IS DISTINCT FROM 'erased-' || l.id || '@erased.invalid' THEN m.lead_id END AS lead_id,
    CASE WHEN l.email = 'erased-' || l.id || '@erased.invalid' THEN l.updated END AS erased_at
FROM email_messages m
LEFT JOIN leads l ON l.tenant_id = m.tenant_id AND l.id = m.lead_id;

-- name: firsts
-- The first time of everything that happened to a message, where it can count: what the questions below are asked of.
CREATE TEMP VIEW firsts AS
SELECT DISTINCT ON (m.tenant_id, m.id, e.event_type)
    m.*, e.event_type, e.occurred_at AS first_at, e.occurred_at::date AS day
FROM messages m
JOIN email_events e ON e.tenant_id = m.tenant_id AND e.message_id = m.id
WHERE
    e.occurred_at <= e.ingested_at + interval '1 day'
    AND e.event_type IN ('sent', 'delivered', 'opened', 'clicked', 'replied', 'bounced', 'unsubscribed', 'complained')
    AND (m.erased_at IS NULL OR e.ingested_at <= m.erased_at)
    AND NOT EXISTS (
        SELECT FROM email_events s
        WHERE s.tenant_id = e.tenant_id AND s.message_id = e.message_id AND s.event_type = 'sent'
        AND s.occurred_at <= s.ingested_at + interval '1 day'
        HAVING min(s.occurred_at) - interval '5 minutes' > e.occurred_at
    )
ORDER BY m.tenant_id, m.id, e.event_type, e.occurred_at;

-- name: sent
CREATE TEMP VIEW sent AS
SELECT f.*, array(SELECT g.event_type FROM firsts g WHERE g.tenant_id = f.tenant_id AND g.id = f.id) AS became
FROM firsts f
WHERE f.event_type = 'sent';

-- name: periods
CREATE TEMP VIEW periods AS
WITH known AS (
    SELECT tenant_id, id AS subscription_id, current_period_start AS b, current_period_end AS e FROM subscriptions
    WHERE current_period_start IS NOT NULL AND current_period_end IS NOT NULL
    UNION
    SELECT tenant_id, subscription_id, billing_period_start, billing_period_end FROM payments
    WHERE billing_period_end > billing_period_start
)
SELECT tenant_id, min(subscription_id::text)::uuid AS subscription_id, b::timestamp AS b, e::timestamp AS e FROM known GROUP BY 1, 3, 4
UNION ALL
SELECT DISTINCT f.tenant_id, NULL::uuid, date_trunc('month', f.day)::timestamp, date_trunc('month', f.day)::timestamp + interval '1 month'
FROM firsts f
WHERE f.event_type = 'sent' AND f.direction = 'outbound' AND f.tenant_id NOT IN (SELECT tenant_id FROM known);

-- name: newest
CREATE TEMP VIEW newest AS
SELECT DISTINCT ON (tenant_id)
    tenant_id, md5(tenant_id::text || ' ' || b || ' ' || e)::uuid AS billing_id
FROM periods
ORDER BY tenant_id, e DESC, b DESC;

-- name: email_daily
SELECT
    f.tenant_id,
    f.day,
    f.company_id,
    f.campaign_id,
    f.campaign_sequence_step_id,
    f.email_account_id,
    f.direction,
    f.message_type,
    {counts}
FROM firsts f
GROUP BY f.tenant_id, f.day, f.company_id, f.campaign_id, f.campaign_sequence_step_id, f.email_account_id, f.direction, f.message_type;

-- name: email_cohort_daily
SELECT
    f.tenant_id,
    f.day,
    f.company_id,
    f.campaign_id,
    f.campaign_sequence_step_id,
    f.email_account_id,
    f.direction,
    f.message_type,
    {counts_of_cohort}
FROM sent f
GROUP BY f.tenant_id, f.day, f.company_id, f.campaign_id, f.campaign_sequence_step_id, f.email_account_id, f.direction, f.message_type;

-- name: lead_daily
SELECT
    f.tenant_id,
    f.lead_id,
    f.campaign_id,
    f.campaign_sequence_step_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.lead_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.lead_id, f.campaign_id, f.campaign_sequence_step_id, f.day;

-- name: quarantine_summary
-- Every event that counts nowhere, and why; what counts and what is here is everything.
WITH reasons AS (
    SELECT
        e.tenant_id,
        (least(greatest(e.occurred_at, '0001-01-01 00:00:00+00'), '9999-12-31 00:00:00+00'))::date AS day,
        CASE
            WHEN e.event_type <> ALL ('{sent,delivered,opened,clicked,replied,bounced,unsubscribed,complained}'::text[])
                THEN 'unknown_event_type'
            WHEN m.id IS NULL THEN 'no_message'
            WHEN e.ingested_at > m.erased_at THEN 'erased_person'
            WHEN e.occurred_at - interval '1 day' > e.ingested_at THEN 'in_the_future'
            WHEN e.occurred_at + interval '5 minutes' < (
                SELECT min(s.occurred_at)
                FROM email_events s
                WHERE s.tenant_id = e.tenant_id AND s.message_id = e.message_id AND s.event_type = 'sent'
                AND s.occurred_at <= s.ingested_at + interval '1 day'
            ) THEN 'before_sent'
        END AS reason
    FROM email_events e
    JOIN tenants t ON t.id = e.tenant_id
    LEFT JOIN messages m ON m.tenant_id = e.tenant_id AND m.id = e.message_id
)
SELECT tenant_id, day, reason, count(*) FROM reasons WHERE reason IS NOT NULL GROUP BY 1, 2, 3;

-- name: campaign_analytics
SELECT
    c.tenant_id,
    c.id,
    c.company_id,
    c.status,
    {counts},
    count(DISTINCT f.lead_id) FILTER (
        WHERE f.event_type IN ('replied', 'bounced', 'unsubscribed', 'complained')
        OR (
            f.event_type = 'sent'
            AND f.campaign_sequence_step_id = (
                SELECT s.id
                FROM campaign_sequence_steps s
                WHERE s.tenant_id = c.tenant_id AND s.campaign_id = c.id AND s.is_active AND s.step_type = 'email'
                ORDER BY s.step_order DESC
                LIMIT 1
            )
        )
    ),
    (SELECT n.billing_id FROM newest n WHERE n.tenant_id = c.tenant_id)
FROM campaigns c
LEFT JOIN firsts f ON f.tenant_id = c.tenant_id AND f.campaign_id = c.id AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY c.tenant_id, c.id, c.company_id, c.status;

-- name: sequence_step_analytics
SELECT
    s.tenant_id,
    s.id,
    s.campaign_id,
    c.company_id,
    {counts},
    (SELECT n.billing_id FROM newest n WHERE n.tenant_id = s.tenant_id)
FROM campaign_sequence_steps s
JOIN campaigns c ON c.tenant_id = s.tenant_id AND c.id = s.campaign_id
LEFT JOIN firsts f ON f.tenant_id = s.tenant_id AND f.campaign_sequence_step_id = s.id AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY s.tenant_id, s.id, s.campaign_id, c.company_id;

-- name: lead_analytics
SELECT
    f.tenant_id,
    f.lead_id,
    f.campaign_id,
    l.status,
    {counts},
    (SELECT n.billing_id FROM newest n WHERE n.tenant_id = f.tenant_id)
FROM firsts f
JOIN leads l ON l.tenant_id = f.tenant_id AND l.id = f.lead_id
WHERE f.campaign_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.lead_id, f.campaign_id, l.status;

-- name: tenant_daily
SELECT
    f.tenant_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.day;

-- name: campaign_daily
SELECT
    f.tenant_id,
    f.campaign_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.campaign_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.campaign_id, f.day;

-- name: mailbox_daily
SELECT
    f.tenant_id,
    f.email_account_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.email_account_id, f.day;

-- name: sequence_step_daily
SELECT
    f.tenant_id,
    f.campaign_sequence_step_id,
    f.campaign_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.campaign_sequence_step_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.campaign_sequence_step_id, f.campaign_id, f.day;

-- name: warmup_daily
SELECT
    f.tenant_id,
    f.email_account_id,
    f.day,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type = 'warmup'
GROUP BY f.tenant_id, f.email_account_id, f.day;

-- name: tenant_weekly
SELECT
    f.tenant_id,
    date_trunc('week', f.day)::date,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, date_trunc('week', f.day)::date;

-- name: campaign_weekly
SELECT
    f.tenant_id,
    f.campaign_id,
    date_trunc('week', f.day)::date,
    {counts}
FROM firsts f
WHERE f.campaign_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.campaign_id, date_trunc('week', f.day)::date;

-- name: mailbox_weekly
SELECT
    f.tenant_id,
    f.email_account_id,
    date_trunc('week', f.day)::date,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.email_account_id, date_trunc('week', f.day)::date;

-- name: sequence_step_weekly
SELECT
    f.tenant_id,
    f.campaign_sequence_step_id,
    f.campaign_id,
    date_trunc('week', f.day)::date,
    {counts}
FROM firsts f
WHERE f.campaign_sequence_step_id IS NOT NULL AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY f.tenant_id, f.campaign_sequence_step_id, f.campaign_id, date_trunc('week', f.day)::date;

-- name: warmup_weekly
SELECT
    f.tenant_id,
    f.email_account_id,
    date_trunc('week', f.day)::date,
    {counts}
FROM firsts f
WHERE f.direction = 'outbound' AND f.message_type = 'warmup'
GROUP BY f.tenant_id, f.email_account_id, date_trunc('week', f.day)::date;

-- name: tenant_rates
SELECT
    f.tenant_id,
    f.day,
    {counts_of_cohort},
    {rates}
FROM sent f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup' AND f.day IS NOT NULL
GROUP BY f.tenant_id, f.day;

-- name: campaign_rates
SELECT
    f.tenant_id,
    f.campaign_id,
    {counts_of_cohort},
    {rates}
FROM sent f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup' AND f.campaign_id IS NOT NULL
GROUP BY f.tenant_id, f.campaign_id;

-- name: sequence_step_rates
SELECT
    f.tenant_id,
    f.campaign_sequence_step_id,
    {counts_of_cohort},
    {rates}
FROM sent f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup' AND f.campaign_sequence_step_id IS NOT NULL
GROUP BY f.tenant_id, f.campaign_sequence_step_id;

-- name: mailbox_rates
SELECT
    f.tenant_id,
    f.email_account_id,
    {counts_of_cohort},
    {rates}
FROM sent f
WHERE f.direction = 'outbound' AND f.message_type <> 'warmup' AND f.email_account_id IS NOT NULL
GROUP BY f.tenant_id, f.email_account_id;

-- name: health
CREATE TEMP VIEW health AS
WITH window_of AS (
    SELECT s.*, max(s.day) OVER (PARTITION BY s.tenant_id, s.email_account_id) AS last_day FROM sent s WHERE s.direction = 'outbound'
),
counted AS (
    SELECT
        tenant_id,
        email_account_id,
        count(*)::double precision AS sent,
        (count(*) FILTER (WHERE 'delivered' = ANY (became)))::double precision AS delivered,
        (count(*) FILTER (WHERE 'opened' = ANY (became)))::double precision AS opened,
        (count(*) FILTER (WHERE 'bounced' = ANY (became)))::double precision AS bounced,
        (count(*) FILTER (WHERE 'complained' = ANY (became)))::double precision AS complained,
        count(*) FILTER (WHERE day = last_day) AS volume
    FROM window_of
    WHERE day > last_day - {period_days}
    GROUP BY 1, 2
)
SELECT
    c.tenant_id,
    c.email_account_id,
    floor(
        {bounce_points} * greatest(0, 1 - c.bounced / c.sent / {bounce_share}::double precision)
        + {complaint_points} * greatest(0, 1 - coalesce(c.complained / nullif(c.delivered, 0), 0) / {complaint_share}::double precision)
        + {open_points} * least(1, coalesce(c.opened / nullif(c.delivered, 0), 0) / {open_share}::double precision)
        + 0.5
    )::bigint AS score,
    c.volume,
    (
        SELECT least(100, floor(100.0 * count(DISTINCT s.day) / {warm_up_days}))::bigint
        FROM sent s
        WHERE s.tenant_id = c.tenant_id AND s.email_account_id = c.email_account_id AND s.direction = 'outbound'
        AND s.message_type = 'warmup'
    ) AS progress
FROM counted c;

-- name: mailbox_analytics
SELECT
    a.tenant_id,
    a.id,
    d.company_id,
    {counts},
    CASE WHEN coalesce(h.progress, 0) = 0 THEN 'unwarmed' WHEN h.progress = 100 THEN 'warmed' ELSE 'warming' END,
    h.score,
    coalesce(h.volume, 0),
    (
        SELECT c.status
        FROM campaign_sequence_steps s
        JOIN campaigns c ON c.tenant_id = s.tenant_id AND c.id = s.campaign_id
        WHERE s.tenant_id = a.tenant_id AND s.email_account_id = a.id
        ORDER BY array_position(ARRAY['sending', 'scheduled', 'paused', 'draft', 'completed'], c.status::text)
        LIMIT 1
    ),
    (SELECT n.billing_id FROM newest n WHERE n.tenant_id = a.tenant_id)
FROM email_accounts a
JOIN domains d ON d.tenant_id = a.tenant_id AND d.id = a.domain_id
LEFT JOIN health h ON h.tenant_id = a.tenant_id AND h.email_account_id = a.id
LEFT JOIN firsts f ON f.tenant_id = a.tenant_id AND f.email_account_id = a.id AND f.direction = 'outbound' AND f.message_type <> 'warmup'
GROUP BY a.tenant_id, a.id, d.company_id, h.progress, h.score, h.volume;

-- name: warmup_analytics
SELECT
    a.tenant_id,
    a.id,
    d.company_id,
    {counts},
    h.score,
    coalesce(h.progress, 0),
    (SELECT n.billing_id FROM newest n WHERE n.tenant_id = a.tenant_id)
FROM email_accounts a
JOIN domains d ON d.tenant_id = a.tenant_id AND d.id = a.domain_id
LEFT JOIN health h ON h.tenant_id = a.tenant_id AND h.email_account_id = a.id
JOIN firsts f ON f.tenant_id = a.tenant_id AND f.email_account_id = a.id AND f.direction = 'outbound' AND f.message_type = 'warmup'
GROUP BY a.tenant_id, a.id, d.company_id, h.progress, h.score;

-- name: billing_analytics
SELECT
    md5(p.tenant_id::text || ' ' || p.b || ' ' || p.e)::uuid,
    p.tenant_id,
    p.subscription_id,
    count(*) FILTER (WHERE f.message_type <> 'warmup'),
    count(DISTINCT f.email_account_id) FILTER (WHERE f.message_type <> 'warmup'),
    count(DISTINCT a.domain_id) FILTER (WHERE f.message_type <> 'warmup'),
    count(DISTINCT f.campaign_id) FILTER (WHERE f.message_type <> 'warmup'),
    count(DISTINCT f.lead_id) FILTER (WHERE f.message_type <> 'warmup'),
    count(DISTINCT f.email_account_id) FILTER (WHERE f.message_type = 'warmup'),
    p.b,
    p.e
FROM periods p
LEFT JOIN firsts f
    ON f.tenant_id = p.tenant_id AND f.event_type = 'sent' AND f.direction = 'outbound' AND f.day >= p.b::date AND f.day < p.e::date
LEFT JOIN email_accounts a ON a.tenant_id = f.tenant_id AND a.id = f.email_account_id
GROUP BY p.tenant_id, p.subscription_id, p.b, p.e;

-- name: costs
CREATE TEMP VIEW costs AS
WITH used AS (
    SELECT tenant_id, domain_id, smtp_ip_address_id AS ip FROM domain_ip_assignments WHERE status IN ('active', 'warming')
),
priced AS (
    SELECT
        u.tenant_id,
        u.domain_id,
        u.ip,
        i.approximate_cost / (SELECT count(*) FROM used o WHERE o.ip = u.ip) AS ip_cost,
        coalesce(v.approximate_cost, 0)
        / (SELECT count(DISTINCT o.ip) FROM used o JOIN smtp_ip_addresses x ON x.id = o.ip WHERE x.vps_instance_id = v.id)
        / (SELECT count(*) FROM used o WHERE o.ip = u.ip) AS vps_cost
    FROM used u
    JOIN smtp_ip_addresses i ON i.id = u.ip
    JOIN vps_instances v ON v.id = i.vps_instance_id
)
SELECT
    t.id AS tenant_id,
    count(DISTINCT p.domain_id) AS domains,
    count(DISTINCT p.ip) AS ips,
    round(coalesce(sum(p.vps_cost), 0), 4) AS vps_cost,
    round(coalesce(sum(p.ip_cost), 0), 4) AS ip_cost,
    round(coalesce(sum(p.vps_cost + p.ip_cost), 0), 4) AS cost
FROM tenants t
LEFT JOIN priced p ON p.tenant_id = t.id
GROUP BY t.id;

-- name: business_cost_allocation
SELECT tenant_id, domains, ips, vps_cost, ip_cost, cost FROM costs;

-- name: executive_business_summary
WITH paid AS (
    SELECT c.*, coalesce((
        SELECT p.price_monthly / 100.0 FROM subscriptions s JOIN plans p ON p.id = s.plan_id
        WHERE s.tenant_id = c.tenant_id AND s.status IN ('active', 'past_due', 'trialing')
    ), 0) AS price
    FROM costs c
),
mailed AS (
    SELECT
        p.*,
        (SELECT count(*) FROM firsts f WHERE f.tenant_id = p.tenant_id AND f.event_type = 'sent' AND f.direction = 'outbound' AND f.message_type <> 'warmup'
            AND f.day > (SELECT max(day) - {period_days} FROM firsts l WHERE l.tenant_id = p.tenant_id AND l.direction = 'outbound')) AS sent,
        (SELECT count(*) FROM firsts f WHERE f.tenant_id = p.tenant_id AND f.event_type = 'delivered' AND f.direction = 'outbound' AND f.message_type <> 'warmup'
            AND f.day > (SELECT max(day) - {period_days} FROM firsts l WHERE l.tenant_id = p.tenant_id AND l.direction = 'outbound')) AS delivered
    FROM paid p
)
SELECT
    tenant_id,
    round(price, 4),
    cost,
    round(price - cost, 4),
    sent,
    delivered,
    round(cost / nullif(delivered, 0), 6),
    CASE
        WHEN cost = 0 OR price > {excellent_ratio} * cost THEN 'excellent'
        WHEN price > {good_ratio} * cost THEN 'good'
        WHEN price > {monitor_ratio} * cost THEN 'monitor'
        ELSE 'critical'
    END
FROM mailed;

-- name: admin_audit_log
SELECT
    id, occurred_at::timestamp, actor_user_id, action, resource_type, resource_id, tenant_id, old_values::text, new_values::text,
    host(ip_address), user_agent, notes, metadata::text, data_classification, retention_category
FROM admin_audit_events;
