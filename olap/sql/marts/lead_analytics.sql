-- What has happened so far with every lead in every campaign it was part of.
WITH counts AS (
    SELECT
        tenant_id,
        lead_id,
        campaign_id,
        CAST(SUM(sent) AS BIGINT) AS sent,
        CAST(SUM(delivered) AS BIGINT) AS delivered,
        CAST(SUM(opened_tracked) AS BIGINT) AS opened_tracked,
        CAST(SUM(clicked_tracked) AS BIGINT) AS clicked_tracked,
        CAST(SUM(replied) AS BIGINT) AS replied,
        CAST(SUM(bounced) AS BIGINT) AS bounced,
        CAST(SUM(unsubscribed) AS BIGINT) AS unsubscribed,
        CAST(SUM(spam_complaints) AS BIGINT) AS spam_complaints
    FROM lead_daily
    WHERE campaign_id IS NOT NULL
    GROUP BY tenant_id, lead_id, campaign_id
)

SELECT
    counts.tenant_id,
    counts.lead_id,
    counts.campaign_id,
    lead.status,
    counts.sent,
    counts.delivered,
    counts.opened_tracked,
    counts.clicked_tracked,
    counts.replied,
    counts.bounced,
    counts.unsubscribed,
    counts.spam_complaints,
    billing.billing_id,
    position.as_of AS updated
FROM counts
CROSS JOIN position
LEFT JOIN leads AS lead
    ON counts.tenant_id = lead.tenant_id AND counts.lead_id = lead.lead_id
LEFT JOIN billing_periods AS billing
    ON counts.tenant_id = billing.tenant_id AND billing.is_newest
