-- What every campaign has done so far.
WITH counts AS (
    SELECT
        tenant_id,
        campaign_id,
        CAST(SUM(sent) AS BIGINT) AS sent,
        CAST(SUM(delivered) AS BIGINT) AS delivered,
        CAST(SUM(opened_tracked) AS BIGINT) AS opened_tracked,
        CAST(SUM(clicked_tracked) AS BIGINT) AS clicked_tracked,
        CAST(SUM(replied) AS BIGINT) AS replied,
        CAST(SUM(bounced) AS BIGINT) AS bounced,
        CAST(SUM(unsubscribed) AS BIGINT) AS unsubscribed,
        CAST(SUM(spam_complaints) AS BIGINT) AS spam_complaints
    FROM email_daily
    WHERE campaign_id IS NOT NULL AND direction = 'outbound' AND message_type <> 'warmup'
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
    COALESCE(counts.sent, 0) AS sent,
    COALESCE(counts.delivered, 0) AS delivered,
    COALESCE(counts.opened_tracked, 0) AS opened_tracked,
    COALESCE(counts.clicked_tracked, 0) AS clicked_tracked,
    COALESCE(counts.replied, 0) AS replied,
    COALESCE(counts.bounced, 0) AS bounced,
    COALESCE(counts.unsubscribed, 0) AS unsubscribed,
    COALESCE(counts.spam_complaints, 0) AS spam_complaints,
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
