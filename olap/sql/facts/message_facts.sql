-- One row a message that something happened to: where it belongs, and when each thing happened to it first. The quarantine
-- is made before: it is small, so leaving its events out costs less than examining every event once more.
WITH first_times AS (
    SELECT
        tenant_id,
        message_id,
        {first_times_of_event_types}
    FROM events_in_scope AS event
    WHERE NOT EXISTS (
        SELECT 1
        FROM quarantined_events AS quarantined
        WHERE
            quarantined.tenant_id = event.tenant_id
            AND quarantined.event_id = event.event_id
            AND quarantined.occurred_at = event.occurred_at
    )
    GROUP BY tenant_id, message_id
)
SELECT
    message.tenant_id,
    message.message_id,
    message.company_id,
    message.email_account_id,
    message.campaign_id,
    message.campaign_sequence_step_id,
    message.lead_id,
    message.direction,
    message.message_type,
    {first_times}
FROM messages_in_scope AS message
JOIN first_times
    ON message.tenant_id = first_times.tenant_id AND message.message_id = first_times.message_id
