-- Outbound messages on their way, and what became of them. Every change looks at what is there once more, so that telling it
-- twice changes nothing.

-- name: outbound_message
-- A message with what sending it takes. The lead is found by its address: what counts is who would read it.
SELECT
    messages.status,
    messages.sent IS NOT NULL AS is_sent,
    messages.to_email AS recipient,
    messages.content_storage_key,
    bodies.raw_message,
    accounts.email AS mailbox,
    accounts.status AS mailbox_status,
    accounts.smtp_settings,
    accounts.vault_key_path,
    leads.status AS lead_status
FROM email_messages AS messages
JOIN email_accounts AS accounts
    ON accounts.tenant_id = messages.tenant_id
    AND accounts.id = messages.email_account_id
LEFT JOIN email_message_bodies AS bodies
    ON bodies.tenant_id = messages.tenant_id
    AND bodies.message_id = messages.id
LEFT JOIN leads
    ON leads.tenant_id = messages.tenant_id
    AND leads.email = messages.to_email
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.id = %(message_id)s
  AND messages.direction = 'outbound';

-- name: record_sent
-- The first telling sets the time and adds the event.
WITH first_told AS (
    UPDATE email_messages
    SET
        sent = %(at)s,
        status = CASE WHEN status IN ('queued', 'deferred', 'failed') THEN 'sent' ELSE status END,
        updated = now(),
        xid = pg_current_xact_id()
    WHERE tenant_id = %(tenant_id)s
      AND id = %(message_id)s
      AND direction = 'outbound'
      AND sent IS NULL
    RETURNING tenant_id, id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, message_type
),
warmed AS (
    UPDATE email_accounts
    SET last_warmed = greatest(email_accounts.last_warmed, %(at)s), updated = now()
    FROM first_told
    WHERE first_told.message_type = 'warmup'
      AND email_accounts.tenant_id = first_told.tenant_id
      AND email_accounts.id = first_told.email_account_id
)
INSERT INTO email_events (
    tenant_id, id, message_id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, event_type, occurred_at
)
SELECT
    tenant_id, %(event_id)s, id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, 'sent', %(at)s
FROM first_told
RETURNING id;

-- name: record_bounced
-- The first bounce counts, and a hard one after a soft one: only a hard one says that the address does not exist.
WITH told AS (
    UPDATE email_messages
    SET
        bounced = coalesce(bounced, %(at)s),
        bounce_type = %(bounce_type)s,
        status = 'bounced',
        updated = now(),
        xid = pg_current_xact_id()
    WHERE tenant_id = %(tenant_id)s
      AND id = %(message_id)s
      AND direction = 'outbound'
      AND (bounced IS NULL OR (bounce_type = 'soft' AND %(bounce_type)s = 'hard'))
    RETURNING tenant_id, id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id
),
marked_lead AS (
    UPDATE leads
    SET status = 'bounced', updated = now()
    FROM told
    WHERE %(bounce_type)s = 'hard'
      AND leads.tenant_id = told.tenant_id
      AND leads.id = told.lead_id
      AND leads.status = 'active'
)
INSERT INTO email_events (
    tenant_id, id, message_id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, event_type, occurred_at,
    payload
)
SELECT
    tenant_id, %(event_id)s, id, campaign_id, campaign_sequence_step_id, email_account_id, lead_id, 'bounced', %(at)s,
    jsonb_build_object('bounce_type', %(bounce_type)s::text, 'code', %(code)s::text)
FROM told
RETURNING id;

-- name: withhold
-- It is not to be sent any more.
UPDATE email_messages
SET status = 'failed', updated = now(), xid = pg_current_xact_id()
WHERE tenant_id = %(tenant_id)s
  AND id = %(message_id)s
  AND direction = 'outbound'
  AND status IN ('queued', 'deferred')
  AND sent IS NULL;

-- name: is_outbound
SELECT EXISTS (
    SELECT FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND id = %(message_id)s
      AND direction = 'outbound'
);
