-- What every step of every campaign has done so far.
WITH counts AS (
    SELECT
        tenant_id,
        campaign_sequence_step_id,
        {sums_of_measures}
    FROM sequence_step_daily
    GROUP BY tenant_id, campaign_sequence_step_id
)

SELECT
    step.tenant_id,
    step.campaign_sequence_step_id AS step_id,
    step.campaign_id,
    campaign.company_id,
    {counts_or_zero},
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
