-- What happened to each message, once a kind: on the day it happened first, with where the message belongs.
WITH touches AS (
    SELECT
        facts.tenant_id,
        facts.company_id,
        facts.campaign_id,
        facts.campaign_sequence_step_id,
        facts.email_account_id,
        facts.lead_id,
        facts.direction,
        facts.message_type,
        touch.event_type,
        CASE touch.event_type
            {first_time_by_event_type}
        END AS first_time,
        facts.sign
    FROM signed_facts AS facts
    CROSS JOIN (
        VALUES
            {event_types}
    ) AS touch (event_type)
)
SELECT
    tenant_id,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    lead_id,
    direction,
    message_type,
    event_type,
    CAST(first_time AS DATE) AS day,
    sign
FROM touches
WHERE first_time IS NOT NULL
