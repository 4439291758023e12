-- What happened on each day with each lead in each step of each campaign.
SELECT
    tenant_id,
    lead_id,
    campaign_id,
    campaign_sequence_step_id,
    day,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'sent'), 0) AS BIGINT) AS sent,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'delivered'), 0) AS BIGINT) AS delivered,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'opened'), 0) AS BIGINT) AS opened_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'clicked'), 0) AS BIGINT) AS clicked_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'replied'), 0) AS BIGINT) AS replied,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'bounced'), 0) AS BIGINT) AS bounced,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'unsubscribed'), 0) AS BIGINT) AS unsubscribed,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'complained'), 0) AS BIGINT) AS spam_complaints
FROM first_touches
WHERE lead_id IS NOT NULL AND direction = 'outbound' AND message_type <> 'warmup'
GROUP BY
    tenant_id,
    lead_id,
    campaign_id,
    campaign_sequence_step_id,
    day
