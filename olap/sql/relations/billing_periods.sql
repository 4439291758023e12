-- Every billing period that is known of a tenant, and which one is the newest. A tenant without any has the calendar
-- months in which it sent.
WITH known AS (
    SELECT
        tenant_id,
        subscription_id,
        current_period_start AS period_start,
        current_period_end AS period_end
    FROM subscriptions
    WHERE current_period_start IS NOT NULL AND current_period_end IS NOT NULL
    UNION ALL
    SELECT
        tenant_id,
        subscription_id,
        billing_period_start AS period_start,
        billing_period_end AS period_end
    FROM payments
    WHERE billing_period_start IS NOT NULL AND billing_period_end > billing_period_start
),

calendar_months AS (
    SELECT DISTINCT
        tenant_id,
        CAST(DATE_TRUNC('month', day) AS DATE) AS month_start
    FROM email_daily
    WHERE direction = 'outbound' AND sent > 0
),

periods AS (
    SELECT
        tenant_id,
        MIN(subscription_id) AS subscription_id,
        period_start,
        period_end
    FROM known
    GROUP BY tenant_id, period_start, period_end
    UNION ALL
    SELECT
        tenant_id,
        NULL AS subscription_id,
        CAST(month_start AS TIMESTAMP) AS period_start,
        CAST(month_start + INTERVAL 1 MONTH AS TIMESTAMP) AS period_end
    FROM calendar_months
    WHERE tenant_id NOT IN (SELECT tenant_id FROM known)
)

SELECT
    CAST(MD5(CONCAT(
        CAST(tenant_id AS VARCHAR),
        ' ', CAST(period_start AS VARCHAR),
        ' ', CAST(period_end AS VARCHAR)
    )) AS UUID) AS billing_id,
    tenant_id,
    subscription_id,
    period_start,
    period_end,
    CAST(period_start AS DATE) AS first_day,
    CAST(period_end AS DATE) AS day_after,
    ROW_NUMBER() OVER (PARTITION BY tenant_id ORDER BY period_end DESC, period_start DESC) = 1 AS is_newest
FROM periods
