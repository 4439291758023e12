-- What happened on each day with each lead in each step of each campaign.
SELECT
    tenant_id,
    lead_id,
    campaign_id,
    campaign_sequence_step_id,
    day,
    {counts_of_touches}
FROM first_touches
WHERE lead_id IS NOT NULL AND direction = 'outbound' AND message_type <> 'warmup'
GROUP BY
    tenant_id,
    lead_id,
    campaign_id,
    campaign_sequence_step_id,
    day
