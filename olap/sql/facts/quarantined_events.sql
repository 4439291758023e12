-- Events that cannot count, with the reason. One that can count later (its message arrives late) leaves by itself.
SELECT
    tenant_id,
    event_id,
    message_id,
    event_type,
    occurred_at,
    reason
FROM examined_events
WHERE reason IS NOT NULL
