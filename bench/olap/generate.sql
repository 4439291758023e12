-- name: events
-- Messages of the last thirty days like those that are there, each sent, delivered and opened twice.
WITH patterns AS (
    SELECT
        tenant_id,
        company_id,
        email_account_id,
        campaign_id,
        campaign_sequence_step_id,
        lead_id,
        row_number() OVER () AS number,
        count(*) OVER () AS patterns
    FROM (
        SELECT *
        FROM email_messages
        WHERE direction = 'outbound' AND campaign_id IS NOT NULL
        LIMIT 200
    ) AS examples
),
moments AS (
    SELECT
        number,
        now() - interval '30 days' * (number::double precision / %(messages)s) AS sent_at
    FROM generate_series(1, %(messages)s) AS number
),
messages AS (
    INSERT INTO email_messages (
        tenant_id, id, company_id, email_account_id, campaign_id, campaign_sequence_step_id, lead_id, direction,
        message_type, sent
    )
    SELECT
        patterns.tenant_id,
        overlay(
            gen_random_uuid()::text PLACING
            left(lpad(to_hex((extract(epoch FROM moments.sent_at) * 1000)::bigint), 12, '0'), 8)
            || '-' || right(lpad(to_hex((extract(epoch FROM moments.sent_at) * 1000)::bigint), 12, '0'), 4)
            || '-7' FROM 1 FOR 15
        )::uuid,
        patterns.company_id,
        patterns.email_account_id,
        patterns.campaign_id,
        patterns.campaign_sequence_step_id,
        patterns.lead_id,
        'outbound',
        'email',
        moments.sent_at
    FROM moments
    JOIN patterns
        ON patterns.number = 1 + moments.number %% patterns.patterns
    RETURNING tenant_id, id, sent
)
INSERT INTO email_events (tenant_id, message_id, event_type, occurred_at, ingested_at)
SELECT
    messages.tenant_id,
    messages.id,
    happened.event_type,
    messages.sent + happened.after_hours * interval '1 hour',
    messages.sent + happened.after_hours * interval '1 hour'
FROM messages
CROSS JOIN (VALUES ('sent', 0), ('delivered', 0.1), ('opened', 20), ('opened', 30)) AS happened (event_type, after_hours);
