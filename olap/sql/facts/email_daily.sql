-- What happened on each day, counted where the message belongs. A message counts once per measure, on the day it first happened.
SELECT
    tenant_id,
    day,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'sent'), 0) AS BIGINT) AS sent,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'delivered'), 0) AS BIGINT) AS delivered,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'opened'), 0) AS BIGINT) AS opened_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'clicked'), 0) AS BIGINT) AS clicked_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'replied'), 0) AS BIGINT) AS replied,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'bounced'), 0) AS BIGINT) AS bounced,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'unsubscribed'), 0) AS BIGINT) AS unsubscribed,
    CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = 'complained'), 0) AS BIGINT) AS spam_complaints
FROM first_touches
GROUP BY
    tenant_id,
    day,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type
