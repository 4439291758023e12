-- One row a message and measure: the day on which the message counts, and whether it is to be added or taken away.
-- Reads signed_facts: message facts with their sign, +1 everywhere in a recomputation.
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'sent' AS event_type,
    CAST(sent_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE sent_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'delivered' AS event_type,
    CAST(delivered_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE delivered_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'opened' AS event_type,
    CAST(opened_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE opened_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'clicked' AS event_type,
    CAST(clicked_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE clicked_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'replied' AS event_type,
    CAST(replied_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE replied_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'bounced' AS event_type,
    CAST(bounced_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE bounced_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'unsubscribed' AS event_type,
    CAST(unsubscribed_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE unsubscribed_at IS NOT NULL
UNION ALL
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    'complained' AS event_type,
    CAST(complained_at AS DATE) AS day,
    sign
FROM signed_facts
WHERE complained_at IS NOT NULL
