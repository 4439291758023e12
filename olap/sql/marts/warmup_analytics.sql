-- How far the warm-up of every mailbox has come that ever sent warm-up mail, and what that mail did.
WITH counts AS (
    SELECT
        tenant_id,
        email_account_id,
        {sums_of_measures}
    FROM warmup_daily
    GROUP BY tenant_id, email_account_id
)

SELECT
    counts.tenant_id,
    counts.email_account_id AS mailbox_id,
    domain.company_id,
    {counts},
    health.health_score,
    COALESCE(health.progress_percentage, 0) AS progress_percentage,
    billing.billing_id,
    position.as_of AS updated
FROM counts
CROSS JOIN position
JOIN email_accounts AS mailbox
    ON counts.tenant_id = mailbox.tenant_id AND counts.email_account_id = mailbox.email_account_id
JOIN domains AS domain
    ON mailbox.tenant_id = domain.tenant_id AND mailbox.domain_id = domain.domain_id
LEFT JOIN mailbox_health AS health
    ON counts.tenant_id = health.tenant_id AND counts.email_account_id = health.email_account_id
LEFT JOIN billing_periods AS billing
    ON counts.tenant_id = billing.tenant_id AND billing.is_newest
