-- What has happened so far with every lead in every campaign it was part of.
WITH counts AS (
    SELECT
        tenant_id,
        lead_id,
        campaign_id,
        {sums_of_measures}
    FROM lead_daily
    WHERE campaign_id IS NOT NULL
    GROUP BY tenant_id, lead_id, campaign_id
)

SELECT
    counts.tenant_id,
    counts.lead_id,
    counts.campaign_id,
    lead.status,
    {counts},
    billing.billing_id,
    position.as_of AS updated
FROM counts
CROSS JOIN position
LEFT JOIN leads AS lead
    ON counts.tenant_id = lead.tenant_id AND counts.lead_id = lead.lead_id
LEFT JOIN billing_periods AS billing
    ON counts.tenant_id = billing.tenant_id AND billing.is_newest
