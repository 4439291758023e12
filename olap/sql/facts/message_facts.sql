-- One row a message that something happened to: where it belongs, and when each thing happened to it first.
WITH first_times AS (
    SELECT
        tenant_id,
        message_id,
        MIN(occurred_at) FILTER (WHERE event_type = 'sent') AS sent_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'delivered') AS delivered_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'opened') AS opened_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'clicked') AS clicked_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'replied') AS replied_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'bounced') AS bounced_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'unsubscribed') AS unsubscribed_at,
        MIN(occurred_at) FILTER (WHERE event_type = 'complained') AS complained_at
    FROM examined_events
    WHERE reason IS NULL
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
    first_times.sent_at,
    first_times.delivered_at,
    first_times.opened_at,
    first_times.clicked_at,
    first_times.replied_at,
    first_times.bounced_at,
    first_times.unsubscribed_at,
    first_times.complained_at
FROM messages_in_scope AS message
JOIN first_times
    ON message.tenant_id = first_times.tenant_id AND message.message_id = first_times.message_id
