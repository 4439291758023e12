-- Health and warm-up of every mailbox; docs/marts.md works an example by hand.
-- The window is the days that end with the last day on which the mailbox sent, so that a paused mailbox keeps its score.
WITH last_days AS (
    SELECT
        tenant_id,
        email_account_id,
        MAX(sent_day) AS last_day
    FROM email_cohort_daily
    WHERE direction = 'outbound'
    GROUP BY tenant_id, email_account_id
),

windows AS (
    SELECT
        cohort.tenant_id,
        cohort.email_account_id,
        CAST(SUM(cohort.sent) AS DOUBLE) AS sent,
        CAST(SUM(cohort.delivered) AS DOUBLE) AS delivered,
        CAST(SUM(cohort.opened_tracked) AS DOUBLE) AS opened_tracked,
        CAST(SUM(cohort.bounced) AS DOUBLE) AS bounced,
        CAST(SUM(cohort.spam_complaints) AS DOUBLE) AS spam_complaints,
        SUM(CASE WHEN cohort.sent_day = last_days.last_day THEN cohort.sent ELSE 0 END) AS last_day_sent
    FROM email_cohort_daily AS cohort
    JOIN last_days
        ON cohort.tenant_id = last_days.tenant_id AND cohort.email_account_id = last_days.email_account_id
    WHERE cohort.direction = 'outbound' AND cohort.sent_day > last_days.last_day - INTERVAL {period_days} DAY
    GROUP BY cohort.tenant_id, cohort.email_account_id
),

warmups AS (
    SELECT
        tenant_id,
        email_account_id,
        COUNT(DISTINCT sent_day) AS warmup_days
    FROM email_cohort_daily
    WHERE direction = 'outbound' AND message_type = 'warmup'
    GROUP BY tenant_id, email_account_id
)

SELECT
    windows.tenant_id,
    windows.email_account_id,
    CAST(FLOOR(
        {bounce_points} * GREATEST(0, 1 - windows.bounced / windows.sent / {bounce_share})
        + {complaint_points}
        * GREATEST(0, 1 - COALESCE(windows.spam_complaints / NULLIF(windows.delivered, 0), 0) / {complaint_share})
        + {open_points} * LEAST(1, COALESCE(windows.opened_tracked / NULLIF(windows.delivered, 0), 0) / {open_share})
        + 0.5
    ) AS BIGINT) AS health_score,
    CAST(windows.last_day_sent AS BIGINT) AS current_volume,
    CAST(LEAST(100, FLOOR(100.0 * COALESCE(warmups.warmup_days, 0) / {warm_up_days})) AS BIGINT) AS progress_percentage
FROM windows
LEFT JOIN warmups
    ON windows.tenant_id = warmups.tenant_id AND windows.email_account_id = warmups.email_account_id
