-- What every tenant pays, what it costs, and what comes of it, a month.
WITH live AS (
    SELECT
        subscription.tenant_id,
        MIN(CAST(plan.price_monthly AS DOUBLE)) / 100 AS plan_price
    FROM subscriptions AS subscription
    JOIN plans AS plan
        ON subscription.plan_id = plan.plan_id
    WHERE subscription.status IN ('active', 'past_due', 'trialing')
    GROUP BY subscription.tenant_id
),

last_days AS (
    SELECT
        tenant_id,
        MAX(day) AS last_day
    FROM email_daily
    WHERE direction = 'outbound'
    GROUP BY tenant_id
),

delivered AS (
    SELECT
        daily.tenant_id,
        CAST(SUM(daily.sent) AS BIGINT) AS emails_sent,
        CAST(SUM(daily.delivered) AS BIGINT) AS emails_delivered
    FROM email_daily AS daily
    JOIN last_days
        ON daily.tenant_id = last_days.tenant_id
    WHERE
        daily.direction = 'outbound'
        AND daily.message_type <> 'warmup'
        AND daily.day > last_days.last_day - INTERVAL {period_days} DAY
    GROUP BY daily.tenant_id
),

money AS (
    SELECT
        cost.tenant_id,
        COALESCE(live.plan_price, 0) AS plan_price,
        CAST(cost.infrastructure_cost AS DOUBLE) AS infrastructure_cost,
        cost.updated
    FROM business_cost_allocation AS cost
    LEFT JOIN live
        ON cost.tenant_id = live.tenant_id
)

SELECT
    money.tenant_id,
    CAST(money.plan_price AS DECIMAL(18, 4)) AS plan_price,
    CAST(money.infrastructure_cost AS DECIMAL(18, 4)) AS infrastructure_cost,
    CAST(money.plan_price - money.infrastructure_cost AS DECIMAL(18, 4)) AS margin,
    COALESCE(delivered.emails_sent, 0) AS emails_sent,
    COALESCE(delivered.emails_delivered, 0) AS emails_delivered,
    CAST(money.infrastructure_cost / NULLIF(delivered.emails_delivered, 0) AS DECIMAL(18, 6))
        AS cost_per_delivered_email,
    CASE
        WHEN money.infrastructure_cost = 0 THEN 'excellent'
        WHEN money.plan_price > {excellent_ratio} * money.infrastructure_cost THEN 'excellent'
        WHEN money.plan_price > {good_ratio} * money.infrastructure_cost THEN 'good'
        WHEN money.plan_price > {monitor_ratio} * money.infrastructure_cost THEN 'monitor'
        ELSE 'critical'
    END AS health_status,
    money.updated
FROM money
LEFT JOIN delivered
    ON money.tenant_id = delivered.tenant_id
