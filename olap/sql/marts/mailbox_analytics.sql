-- What every mailbox has done so far, its health, and what it is doing now. Warm-up mail does not count among the measures.
WITH counts AS (
    SELECT
        tenant_id,
        email_account_id,
        {sums_of_measures}
    FROM mailbox_daily
    GROUP BY tenant_id, email_account_id
),

campaign_states AS (
    SELECT
        step.tenant_id,
        step.email_account_id,
        MIN(CASE campaign.status
            WHEN 'sending' THEN 1
            WHEN 'scheduled' THEN 2
            WHEN 'paused' THEN 3
            WHEN 'draft' THEN 4
            ELSE 5
        END) AS liveliest
    FROM campaign_sequence_steps AS step
    JOIN campaigns AS campaign
        ON step.tenant_id = campaign.tenant_id AND step.campaign_id = campaign.campaign_id
    WHERE step.email_account_id IS NOT NULL
    GROUP BY step.tenant_id, step.email_account_id
)

SELECT
    mailbox.tenant_id,
    mailbox.email_account_id AS mailbox_id,
    domain.company_id,
    {counts_or_zero},
    CASE
        WHEN COALESCE(health.progress_percentage, 0) = 0 THEN 'unwarmed'
        WHEN health.progress_percentage < 100 THEN 'warming'
        ELSE 'warmed'
    END AS warmup_status,
    health.health_score,
    COALESCE(health.current_volume, 0) AS current_volume,
    CASE campaign_states.liveliest
        WHEN 1 THEN 'sending'
        WHEN 2 THEN 'scheduled'
        WHEN 3 THEN 'paused'
        WHEN 4 THEN 'draft'
        WHEN 5 THEN 'completed'
    END AS campaign_status,
    billing.billing_id,
    position.as_of AS updated
FROM email_accounts AS mailbox
CROSS JOIN position
JOIN domains AS domain
    ON mailbox.tenant_id = domain.tenant_id AND mailbox.domain_id = domain.domain_id
LEFT JOIN counts
    ON mailbox.tenant_id = counts.tenant_id AND mailbox.email_account_id = counts.email_account_id
LEFT JOIN mailbox_health AS health
    ON mailbox.tenant_id = health.tenant_id AND mailbox.email_account_id = health.email_account_id
LEFT JOIN campaign_states
    ON
        mailbox.tenant_id = campaign_states.tenant_id
        AND mailbox.email_account_id = campaign_states.email_account_id
LEFT JOIN billing_periods AS billing
    ON mailbox.tenant_id = billing.tenant_id AND billing.is_newest
