-- What every tenant used in each of its billing periods, counted in whole UTC days: from the day the period starts on up to
-- the day before the one it ends on.
WITH mail AS (
    SELECT
        billing.billing_id,
        CAST(SUM(CASE WHEN daily.message_type <> 'warmup' THEN daily.sent ELSE 0 END) AS BIGINT) AS emails_sent,
        COUNT(DISTINCT CASE WHEN daily.message_type <> 'warmup' THEN daily.email_account_id END) AS mailboxes_used,
        COUNT(DISTINCT CASE WHEN daily.message_type <> 'warmup' THEN mailbox.domain_id END) AS domains_used,
        COUNT(DISTINCT CASE WHEN daily.message_type <> 'warmup' THEN daily.campaign_id END) AS campaigns_used,
        COUNT(DISTINCT CASE WHEN daily.message_type = 'warmup' THEN daily.email_account_id END) AS warmups_active
    FROM billing_periods AS billing
    JOIN email_daily AS daily
        ON
            billing.tenant_id = daily.tenant_id
            AND daily.day >= billing.first_day
            AND daily.day < billing.day_after
    LEFT JOIN email_accounts AS mailbox
        ON daily.tenant_id = mailbox.tenant_id AND daily.email_account_id = mailbox.email_account_id
    WHERE daily.direction = 'outbound' AND daily.sent > 0
    GROUP BY billing.billing_id
),

lead_use AS (
    SELECT
        billing.billing_id,
        COUNT(DISTINCT daily.lead_id) AS leads_used
    FROM billing_periods AS billing
    JOIN lead_daily AS daily
        ON
            billing.tenant_id = daily.tenant_id
            AND daily.day >= billing.first_day
            AND daily.day < billing.day_after
    WHERE daily.sent > 0
    GROUP BY billing.billing_id
)

SELECT
    billing.billing_id AS id,
    billing.tenant_id,
    billing.subscription_id,
    COALESCE(mail.emails_sent, 0) AS emails_sent,
    COALESCE(mail.mailboxes_used, 0) AS mailboxes_used,
    COALESCE(mail.domains_used, 0) AS domains_used,
    COALESCE(mail.campaigns_used, 0) AS campaigns_used,
    COALESCE(lead_use.leads_used, 0) AS leads_used,
    COALESCE(mail.warmups_active, 0) AS warmups_active,
    billing.period_start,
    billing.period_end,
    position.as_of AS updated
FROM billing_periods AS billing
CROSS JOIN position
LEFT JOIN mail
    ON billing.billing_id = mail.billing_id
LEFT JOIN lead_use
    ON billing.billing_id = lead_use.billing_id
