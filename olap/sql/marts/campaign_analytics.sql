-- What every campaign has done so far.
WITH counts AS (
    SELECT
        tenant_id,
        campaign_id,
        {sums_of_measures}
    FROM campaign_daily
    GROUP BY tenant_id, campaign_id
),

last_steps AS (
    SELECT
        tenant_id,
        campaign_id,
        campaign_sequence_step_id
    FROM campaign_sequence_steps
    WHERE step_type = 'email' AND is_active
    QUALIFY ROW_NUMBER() OVER (PARTITION BY tenant_id, campaign_id ORDER BY step_order DESC) = 1
),

finished_leads AS (
    SELECT DISTINCT
        lead.tenant_id,
        lead.campaign_id,
        lead.lead_id
    FROM lead_daily AS lead
    LEFT JOIN last_steps
        ON
            lead.tenant_id = last_steps.tenant_id
            AND lead.campaign_id = last_steps.campaign_id
            AND lead.campaign_sequence_step_id = last_steps.campaign_sequence_step_id
    WHERE
        lead.campaign_id IS NOT NULL
        AND (
            lead.replied + lead.bounced + lead.unsubscribed + lead.spam_complaints > 0
            OR (last_steps.campaign_id IS NOT NULL AND lead.sent > 0)
        )
),

completed AS (
    SELECT
        tenant_id,
        campaign_id,
        COUNT(*) AS completed_leads
    FROM finished_leads
    GROUP BY tenant_id, campaign_id
)

SELECT
    campaign.tenant_id,
    campaign.campaign_id,
    campaign.company_id,
    campaign.status,
    {counts_or_zero},
    COALESCE(completed.completed_leads, 0) AS completed_leads,
    billing.billing_id,
    position.as_of AS updated
FROM campaigns AS campaign
CROSS JOIN position
LEFT JOIN counts
    ON campaign.tenant_id = counts.tenant_id AND campaign.campaign_id = counts.campaign_id
LEFT JOIN completed
    ON campaign.tenant_id = completed.tenant_id AND campaign.campaign_id = completed.campaign_id
LEFT JOIN billing_periods AS billing
    ON campaign.tenant_id = billing.tenant_id AND billing.is_newest
