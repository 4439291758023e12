-- What the report shows; asked of the published marts.

-- name: days
-- Volume of the last ninety days with any.
SELECT day, SUM(sent) AS sent, SUM(delivered) AS delivered, SUM(replied) AS replied, SUM(bounced) AS bounced
FROM tenant_daily
WHERE day > (SELECT MAX(day) FROM tenant_daily) - INTERVAL 90 DAY
GROUP BY day
ORDER BY day;

-- name: rates
-- Rates of the messages sent on each of those days.
SELECT
    sent_day,
    100.0 * SUM(delivered) / NULLIF(SUM(sent), 0) AS delivery_rate,
    100.0 * SUM(opened_tracked) / NULLIF(SUM(delivered), 0) AS open_rate,
    100.0 * SUM(replied) / NULLIF(SUM(delivered), 0) AS reply_rate,
    100.0 * SUM(bounced) / NULLIF(SUM(sent), 0) AS bounce_rate
FROM tenant_rates
WHERE sent_day > (SELECT MAX(sent_day) FROM tenant_rates) - INTERVAL 90 DAY
GROUP BY sent_day
ORDER BY sent_day;

-- name: totals
SELECT
    COUNT(*) AS tenants,
    SUM(emails_sent) AS emails_sent,
    SUM(emails_delivered) AS emails_delivered,
    SUM(plan_price) AS plan_price,
    SUM(infrastructure_cost) AS infrastructure_cost
FROM executive_business_summary;

-- name: health
-- How many mailboxes are in which range of the health score.
SELECT bounds.lowest, COUNT(mailbox.mailbox_id) AS mailboxes
FROM (VALUES (0), (20), (40), (60), (80)) AS bounds (lowest)
LEFT JOIN mailbox_analytics AS mailbox
    ON LEAST(mailbox.health_score, 99) // 20 * 20 = bounds.lowest
GROUP BY bounds.lowest
ORDER BY bounds.lowest;

-- name: campaigns
SELECT campaign_id, sent, delivery_rate, open_rate, reply_rate, bounce_rate
FROM campaign_rates
ORDER BY sent DESC, campaign_id
LIMIT 10;

-- name: tenants
SELECT tenant_id, plan_price, infrastructure_cost, margin, emails_delivered, cost_per_delivered_email, health_status
FROM executive_business_summary
ORDER BY margin, tenant_id
LIMIT 10;

-- name: quarantine
SELECT reason, SUM(events) AS events FROM quarantine_summary GROUP BY reason ORDER BY reason;
