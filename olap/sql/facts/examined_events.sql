-- Every event with the reason why it cannot count, or none.
-- Reads events_in_scope and messages_in_scope: everything, or only what a batch touched.
WITH first_sent AS (
    SELECT
        tenant_id,
        message_id,
        MIN(occurred_at) AS sent_at
    FROM events_in_scope
    WHERE event_type = 'sent' AND occurred_at <= ingested_at + INTERVAL 1 DAY
    GROUP BY tenant_id, message_id
)
SELECT
    event.tenant_id,
    event.event_id,
    event.message_id,
    event.event_type,
    event.occurred_at,
    event.ingested_at,
    CASE
        WHEN event.event_type NOT IN (
            {event_type_names}
        ) THEN 'unknown_event_type'
        WHEN message.message_id IS NULL THEN 'no_message'
        WHEN event.ingested_at > message.erased_at THEN 'erased_person'
        WHEN event.occurred_at > event.ingested_at + INTERVAL 1 DAY THEN 'in_the_future'
        -- Clocks of mail servers differ: five minutes are forgiven.
        WHEN event.occurred_at < first_sent.sent_at - INTERVAL 5 MINUTE THEN 'before_sent'
    END AS reason
FROM events_in_scope AS event
LEFT JOIN messages_in_scope AS message
    ON event.tenant_id = message.tenant_id AND event.message_id = message.message_id
LEFT JOIN first_sent
    ON event.tenant_id = first_sent.tenant_id AND event.message_id = first_sent.message_id
