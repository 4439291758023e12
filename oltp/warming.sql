-- Warming mailboxes up.

-- name: warming_mailboxes
-- Every mailbox that is being warmed up, tenant by tenant.
SELECT tenant_id, id AS email_account_id
FROM email_accounts
WHERE status = 'warming'
  AND (tenant_id, id) > (%(after_tenant)s, %(after_id)s)
ORDER BY tenant_id, id
LIMIT %(limit)s;

-- name: plan_step
-- The mailbox, the partner of the same tenant that was warmed longest ago, and what the mailbox has sent for its warm-up.
WITH mailbox AS (
    SELECT accounts.tenant_id, accounts.id, accounts.email, accounts.status, accounts.created, domains.company_id
    FROM email_accounts AS accounts
    JOIN domains
        ON domains.tenant_id = accounts.tenant_id
        AND domains.id = accounts.domain_id
    WHERE accounts.tenant_id = %(tenant_id)s
      AND accounts.id = %(email_account_id)s
)
SELECT
    mailbox.company_id,
    mailbox.email AS mailbox,
    mailbox.status,
    partner.email AS partner,
    (
        SELECT count(*)
        FROM email_messages AS messages
        WHERE messages.tenant_id = mailbox.tenant_id
          AND messages.email_account_id = mailbox.id
          AND messages.message_type = 'warmup'
          AND messages.direction = 'outbound'
          AND messages.id >= app.uuidv7_lower_bound(%(day)s)
          AND messages.id < app.uuidv7_lower_bound(%(next_day)s)
          AND messages.id <> %(message_id)s
    ) AS planned_today,
    (
        SELECT count(DISTINCT date_trunc('day', app.uuidv7_time(messages.id), 'UTC'))
        FROM email_messages AS messages
        WHERE messages.tenant_id = mailbox.tenant_id
          AND messages.email_account_id = mailbox.id
          AND messages.message_type = 'warmup'
          AND messages.direction = 'outbound'
          AND messages.id >= app.uuidv7_lower_bound(%(ramp_start)s)
          AND messages.id < app.uuidv7_lower_bound(%(day)s)
    ) AS days_warmed
FROM mailbox
LEFT JOIN LATERAL (
    SELECT others.email
    FROM email_accounts AS others
    WHERE others.tenant_id = mailbox.tenant_id
      AND others.id <> mailbox.id
      AND others.status IN ('active', 'warming')
    ORDER BY others.last_warmed NULLS FIRST, others.id
    LIMIT 1
) AS partner ON true;

-- name: add_message
INSERT INTO email_messages (
    tenant_id, id, company_id, email_account_id, direction, message_type, message_id_header, from_email, to_email, subject,
    status, raw_size_bytes
)
VALUES (
    %(tenant_id)s, %(message_id)s, %(company_id)s, %(email_account_id)s, 'outbound', 'warmup', %(message_id_header)s,
    %(mailbox)s, %(partner)s, %(subject)s, 'queued', %(raw_size_bytes)s
)
ON CONFLICT DO NOTHING;

-- name: add_body
INSERT INTO email_message_bodies (tenant_id, message_id, raw_message)
VALUES (%(tenant_id)s, %(message_id)s, %(raw_message)s)
ON CONFLICT DO NOTHING;
