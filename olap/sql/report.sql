-- What the report shows; asked of the published marts. "The period" ends with the last day on which anything was sent.
-- Names in braces are limits (limits.py), but for {rates}, which is written out in report.py.

-- name: days
-- Volume of the last ninety days, those without any included.
WITH bounds AS (
    SELECT MAX(day) AS last_day, GREATEST(MIN(day), MAX(day) - INTERVAL 89 DAY) AS first_day
    FROM tenant_daily
),

days AS (
    SELECT CAST(UNNEST(GENERATE_SERIES(first_day, last_day, INTERVAL 1 DAY)) AS DATE) AS day
    FROM bounds
)

SELECT
    days.day,
    COALESCE(SUM(daily.sent), 0) AS sent,
    COALESCE(SUM(daily.delivered), 0) AS delivered,
    COALESCE(SUM(daily.replied), 0) AS replied,
    COALESCE(SUM(daily.bounced), 0) AS bounced
FROM days
LEFT JOIN tenant_daily AS daily
    ON days.day = daily.day
GROUP BY days.day
ORDER BY days.day;

-- name: rates
-- Rates of the messages sent on each of those days, in the order of the semantic layer.
SELECT sent_day, {rates}
FROM tenant_rates
WHERE sent_day > (SELECT MAX(sent_day) FROM tenant_rates) - INTERVAL 90 DAY
GROUP BY sent_day
ORDER BY sent_day;

-- name: rates_of_periods
-- The same of the period and of the one before it: what is current stands first.
SELECT
    sent_day <= last_day - INTERVAL {period_days} DAY AS is_before,
    COUNT(DISTINCT tenant_id) FILTER (WHERE sent > 0) AS tenants,
    SUM(sent) AS messages_sent,
    {rates}
FROM tenant_rates
CROSS JOIN (SELECT MAX(sent_day) AS last_day FROM tenant_rates) AS ending
WHERE sent_day > last_day - INTERVAL (2 * {period_days}) DAY
GROUP BY is_before
ORDER BY is_before;

-- name: money
SELECT
    COUNT(*) AS tenants,
    COALESCE(SUM(plan_price), 0) AS plan_price,
    COALESCE(SUM(infrastructure_cost), 0) AS infrastructure_cost,
    COALESCE(SUM(margin), 0) AS margin,
    SUM(infrastructure_cost) / NULLIF(SUM(emails_delivered), 0) * 1000 AS cost_per_thousand
FROM executive_business_summary;

-- name: business_health
SELECT states.state, COUNT(summary.tenant_id) AS tenants
FROM (VALUES (1, 'excellent'), (2, 'good'), (3, 'monitor'), (4, 'critical')) AS states (place, state)
LEFT JOIN executive_business_summary AS summary
    ON states.state = summary.health_status
GROUP BY ALL
ORDER BY MIN(states.place);

-- name: mailbox_health
-- How many mailboxes are in which range of the health score.
SELECT bounds.lowest, COUNT(mailbox.mailbox_id) AS mailboxes
FROM (VALUES (0), (20), (40), (60), (80)) AS bounds (lowest)
LEFT JOIN mailbox_analytics AS mailbox
    ON LEAST(mailbox.health_score, 99) // 20 * 20 = bounds.lowest
GROUP BY bounds.lowest
ORDER BY bounds.lowest;

-- name: warmups
SELECT states.state, COUNT(mailbox.mailbox_id) AS mailboxes
FROM (VALUES (1, 'unwarmed'), (2, 'warming'), (3, 'warmed')) AS states (place, state)
LEFT JOIN mailbox_analytics AS mailbox
    ON states.state = mailbox.warmup_status
GROUP BY ALL
ORDER BY MIN(states.place);

-- name: weakest_mailboxes
SELECT mailbox_id, tenant_id, health_score, current_volume, warmup_status
FROM mailbox_analytics
WHERE health_score < {least_health_points}
ORDER BY health_score, mailbox_id
LIMIT 10;

-- name: campaigns
SELECT campaign_id, sent, delivery_rate, open_rate, click_rate, reply_rate, bounce_rate
FROM campaign_rates
ORDER BY sent DESC, campaign_id
LIMIT 10;

-- name: costliest
SELECT tenant_id, plan_price, infrastructure_cost
FROM executive_business_summary
WHERE infrastructure_cost > 0
ORDER BY infrastructure_cost DESC, tenant_id
LIMIT 10;

-- name: least_margin
SELECT tenant_id, plan_price, infrastructure_cost, margin, emails_delivered, cost_per_delivered_email, health_status
FROM executive_business_summary
ORDER BY margin, tenant_id
LIMIT 10;

-- name: retention
-- Of the tenants that sent first in a month, how many sent in each month after it.
WITH active_months AS (
    SELECT tenant_id, CAST(DATE_TRUNC('month', day) AS DATE) AS month
    FROM tenant_daily
    WHERE sent > 0
    GROUP BY ALL
),

first_months AS (
    SELECT tenant_id, MIN(month) AS first_month
    FROM active_months
    GROUP BY tenant_id
)

SELECT first_months.first_month, DATE_DIFF('month', first_months.first_month, active.month) AS months_later, COUNT(*) AS tenants
FROM active_months AS active
JOIN first_months USING (tenant_id)
WHERE first_months.first_month > (SELECT MAX(month) FROM active_months) - INTERVAL 12 MONTH
GROUP BY ALL
ORDER BY ALL;

-- name: quarantine
SELECT reason, SUM(events) AS events FROM quarantine_summary GROUP BY reason ORDER BY reason;
