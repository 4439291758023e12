-- PostgreSQL's own answers, written for it and from the tables of the operational database only: what the marts must say.

-- name: email_daily
WITH sent AS (
    SELECT tenant_id, message_id, min(occurred_at) AS sent_at
    FROM email_events
    WHERE event_type = 'sent' AND occurred_at <= ingested_at + interval '1 day'
    GROUP BY 1, 2
),
firsts AS (
    SELECT m.tenant_id, m.id, e.event_type, min(e.occurred_at) AS first_at
    FROM email_messages m
    JOIN email_events e ON e.tenant_id = m.tenant_id AND e.message_id = m.id
    LEFT JOIN sent s ON s.tenant_id = m.tenant_id AND s.message_id = m.id
    WHERE
        e.occurred_at <= e.ingested_at + interval '1 day'
        AND (s.sent_at IS NULL OR e.occurred_at >= s.sent_at - interval '5 minutes')
        AND e.event_type IN ('sent', 'delivered', 'opened', 'clicked', 'replied', 'bounced', 'unsubscribed', 'complained')
    GROUP BY 1, 2, 3
)
SELECT
    m.tenant_id,
    f.first_at::date,
    m.company_id,
    m.campaign_id,
    m.campaign_sequence_step_id,
    m.email_account_id,
    m.direction,
    m.message_type,
    count(*) FILTER (WHERE f.event_type = 'sent'),
    count(*) FILTER (WHERE f.event_type = 'delivered'),
    count(*) FILTER (WHERE f.event_type = 'opened'),
    count(*) FILTER (WHERE f.event_type = 'clicked'),
    count(*) FILTER (WHERE f.event_type = 'replied'),
    count(*) FILTER (WHERE f.event_type = 'bounced'),
    count(*) FILTER (WHERE f.event_type = 'unsubscribed'),
    count(*) FILTER (WHERE f.event_type = 'complained')
FROM firsts f
JOIN email_messages m USING (tenant_id, id)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: email_cohort_daily
WITH good AS (
    SELECT e.*
    FROM email_events e
    LEFT JOIN LATERAL (
        SELECT min(s.occurred_at) AS sent_at
        FROM email_events s
        WHERE
            s.tenant_id = e.tenant_id AND s.message_id = e.message_id AND s.event_type = 'sent'
            AND s.occurred_at <= s.ingested_at + interval '1 day'
    ) s ON true
    WHERE e.occurred_at <= e.ingested_at + interval '1 day' AND (s.sent_at IS NULL OR e.occurred_at >= s.sent_at - interval '5 minutes')
),
messages AS (
    SELECT
        m.*,
        (SELECT min(g.occurred_at) FROM good g WHERE g.tenant_id = m.tenant_id AND g.message_id = m.id AND g.event_type = 'sent') AS sent_at,
        ARRAY(SELECT g.event_type FROM good g WHERE g.tenant_id = m.tenant_id AND g.message_id = m.id) AS types
    FROM email_messages m
)
SELECT
    tenant_id,
    sent_at::date,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type,
    count(*) FILTER (WHERE 'sent' = ANY (types)),
    count(*) FILTER (WHERE 'delivered' = ANY (types)),
    count(*) FILTER (WHERE 'opened' = ANY (types)),
    count(*) FILTER (WHERE 'clicked' = ANY (types)),
    count(*) FILTER (WHERE 'replied' = ANY (types)),
    count(*) FILTER (WHERE 'bounced' = ANY (types)),
    count(*) FILTER (WHERE 'unsubscribed' = ANY (types)),
    count(*) FILTER (WHERE 'complained' = ANY (types))
FROM messages
WHERE sent_at IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: lead_daily
WITH sent AS (
    SELECT tenant_id, message_id, min(occurred_at) AS sent_at
    FROM email_events
    WHERE event_type = 'sent' AND occurred_at <= ingested_at + interval '1 day'
    GROUP BY 1, 2
),
firsts AS (
    SELECT DISTINCT ON (m.tenant_id, m.id, e.event_type) m.*, e.event_type, e.occurred_at AS first_at
    FROM email_messages m
    JOIN email_events e ON e.tenant_id = m.tenant_id AND e.message_id = m.id
    LEFT JOIN sent s ON s.tenant_id = m.tenant_id AND s.message_id = m.id
    WHERE
        e.occurred_at <= e.ingested_at + interval '1 day'
        AND (s.sent_at IS NULL OR e.occurred_at >= s.sent_at - interval '5 minutes')
        AND m.lead_id IS NOT NULL AND m.direction = 'outbound' AND m.message_type <> 'warmup'
    ORDER BY m.tenant_id, m.id, e.event_type, e.occurred_at
)
SELECT
    tenant_id,
    lead_id,
    campaign_id,
    campaign_sequence_step_id,
    first_at::date,
    count(*) FILTER (WHERE event_type = 'sent'),
    count(*) FILTER (WHERE event_type = 'delivered'),
    count(*) FILTER (WHERE event_type = 'opened'),
    count(*) FILTER (WHERE event_type = 'clicked'),
    count(*) FILTER (WHERE event_type = 'replied'),
    count(*) FILTER (WHERE event_type = 'bounced'),
    count(*) FILTER (WHERE event_type = 'unsubscribed'),
    count(*) FILTER (WHERE event_type = 'complained')
FROM firsts
GROUP BY 1, 2, 3, 4, 5;

-- name: campaign_analytics
WITH sent AS (
    SELECT tenant_id, message_id, min(occurred_at) AS sent_at
    FROM email_events
    WHERE event_type = 'sent' AND occurred_at <= ingested_at + interval '1 day'
    GROUP BY 1, 2
),
good AS (
    SELECT DISTINCT m.tenant_id, m.id, m.campaign_id, m.campaign_sequence_step_id, m.lead_id, e.event_type
    FROM email_messages m
    JOIN email_events e ON e.tenant_id = m.tenant_id AND e.message_id = m.id
    LEFT JOIN sent s ON s.tenant_id = m.tenant_id AND s.message_id = m.id
    WHERE
        e.occurred_at <= e.ingested_at + interval '1 day'
        AND (s.sent_at IS NULL OR e.occurred_at >= s.sent_at - interval '5 minutes')
        AND m.direction = 'outbound' AND m.message_type <> 'warmup'
)
SELECT
    c.tenant_id,
    c.id,
    c.company_id,
    c.status,
    count(*) FILTER (WHERE g.event_type = 'sent'),
    count(*) FILTER (WHERE g.event_type = 'delivered'),
    count(*) FILTER (WHERE g.event_type = 'opened'),
    count(*) FILTER (WHERE g.event_type = 'clicked'),
    count(*) FILTER (WHERE g.event_type = 'replied'),
    count(*) FILTER (WHERE g.event_type = 'bounced'),
    count(*) FILTER (WHERE g.event_type = 'unsubscribed'),
    count(*) FILTER (WHERE g.event_type = 'complained'),
    count(DISTINCT g.lead_id) FILTER (
        WHERE g.event_type IN ('replied', 'bounced', 'unsubscribed', 'complained')
        OR (
            g.event_type = 'sent'
            AND g.campaign_sequence_step_id = (
                SELECT s.id
                FROM campaign_sequence_steps s
                WHERE s.tenant_id = c.tenant_id AND s.campaign_id = c.id AND s.is_active AND s.step_type = 'email'
                ORDER BY s.step_order DESC
                LIMIT 1
            )
        )
    )
FROM campaigns c
LEFT JOIN good g ON g.tenant_id = c.tenant_id AND g.campaign_id = c.id
GROUP BY c.tenant_id, c.id, c.company_id, c.status;
