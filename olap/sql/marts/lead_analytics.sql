-- What has happened so far with every lead in every campaign it was part of.
WITH counts AS (
    SELECT
        tenant_id,
        lead_id,
        campaign_id,
        {sums_of_measures}
    FROM lead_daily_in_scope
    WHERE campaign_id IS NOT NULL
    GROUP BY tenant_id, lead_id, campaign_id
)

SELECT
    counts.tenant_id,
    counts.lead_id,
    counts.campaign_id,
    state.status,
    {counts},
    state.billing_id,
    position.as_of AS updated
FROM counts
CROSS JOIN position
LEFT JOIN lead_states AS state
    ON counts.tenant_id = state.tenant_id AND counts.lead_id = state.lead_id
