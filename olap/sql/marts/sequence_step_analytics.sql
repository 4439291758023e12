-- What every step of every campaign has done so far.
WITH counts AS (
    SELECT
        tenant_id,
        campaign_sequence_step_id,
        CAST(SUM(sent) AS BIGINT) AS sent,
        CAST(SUM(delivered) AS BIGINT) AS delivered,
        CAST(SUM(opened_tracked) AS BIGINT) AS opened_tracked,
        CAST(SUM(clicked_tracked) AS BIGINT) AS clicked_tracked,
        CAST(SUM(replied) AS BIGINT) AS replied,
        CAST(SUM(bounced) AS BIGINT) AS bounced,
        CAST(SUM(unsubscribed) AS BIGINT) AS unsubscribed,
        CAST(SUM(spam_complaints) AS BIGINT) AS spam_complaints
    FROM email_daily
    WHERE campaign_sequence_step_id IS NOT NULL AND direction = 'outbound' AND message_type <> 'warmup'
    GROUP BY tenant_id, campaign_sequence_step_id
)

SELECT
    step.tenant_id,
    step.campaign_sequence_step_id AS step_id,
    step.campaign_id,
    campaign.company_id,
    COALESCE(counts.sent, 0) AS sent,
    COALESCE(counts.delivered, 0) AS delivered,
    COALESCE(counts.opened_tracked, 0) AS opened_tracked,
    COALESCE(counts.clicked_tracked, 0) AS clicked_tracked,
    COALESCE(counts.replied, 0) AS replied,
    COALESCE(counts.bounced, 0) AS bounced,
    COALESCE(counts.unsubscribed, 0) AS unsubscribed,
    COALESCE(counts.spam_complaints, 0) AS spam_complaints,
    billing.billing_id,
    position.as_of AS updated
FROM campaign_sequence_steps AS step
CROSS JOIN position
JOIN campaigns AS campaign
    ON step.tenant_id = campaign.tenant_id AND step.campaign_id = campaign.campaign_id
LEFT JOIN counts
    ON
        step.tenant_id = counts.tenant_id
        AND step.campaign_sequence_step_id = counts.campaign_sequence_step_id
LEFT JOIN billing_periods AS billing
    ON step.tenant_id = billing.tenant_id AND billing.is_newest
