-- Forgetting one correspondent of a tenant: rows and sums stay, what tells who it was goes.

-- name: tenant_is_there
SELECT true FROM tenants WHERE id = %(tenant_id)s;

-- name: count_messages
SELECT count(*)
FROM (
    SELECT id FROM email_messages WHERE tenant_id = %(tenant_id)s AND from_email = %(address)s
    UNION
    SELECT id FROM email_messages WHERE tenant_id = %(tenant_id)s AND to_email = %(address)s
) AS messages;

-- name: count_leads
SELECT count(*)
FROM leads
WHERE tenant_id = %(tenant_id)s
  AND email = %(address)s;

-- name: count_set_aside
-- Bytes that could not be loaded have no columns to look at: the address is searched in them.
SELECT count(*)
FROM mail_intake
WHERE tenant_id = %(tenant_id)s
  AND raw_message IS NOT NULL
  AND position(%(address)s IN lower(convert_from(raw_message, 'LATIN1'))) > 0;

-- name: forget_messages
-- A page: one index for each direction. A forgotten message is found no more, so the next page is the first one again.
WITH page AS (
    SELECT id
    FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND from_email = %(address)s
    UNION
    SELECT id
    FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND to_email = %(address)s
    LIMIT %(limit)s
), particulars_of_events AS (
    UPDATE email_events
    SET payload = NULL
    FROM page
    WHERE email_events.tenant_id = %(tenant_id)s
      AND email_events.message_id = page.id
      AND email_events.occurred_at >= app.uuidv7_time(page.id)
      AND email_events.payload IS NOT NULL
), threads AS (
    UPDATE mail_intake
    SET thread_headers = NULL
    FROM page
    WHERE mail_intake.tenant_id = %(tenant_id)s
      AND mail_intake.message_id = page.id
)
UPDATE email_messages
SET
    from_email = nullif(from_email, %(address)s),
    to_email = nullif(to_email, %(address)s),
    subject = NULL,
    message_id_header = NULL,
    updated = %(now)s
FROM page
WHERE email_messages.tenant_id = %(tenant_id)s
  AND email_messages.id = page.id;

-- name: forget_set_aside
UPDATE mail_intake
SET raw_message = NULL, thread_headers = NULL
WHERE tenant_id = %(tenant_id)s
  AND raw_message IS NOT NULL
  AND position(%(address)s IN lower(convert_from(raw_message, 'LATIN1'))) > 0;

-- name: forget_lead
-- The address is what finds the rest, so the lead goes last. Its row stays: facts refer to it. Nobody writes to it again.
WITH forgotten AS (
    UPDATE leads
    SET
        email = 'erased-' || id::text || '@erased.invalid',
        name = NULL,
        company = NULL,
        status = CASE status WHEN 'active' THEN 'unsubscribed' ELSE status END,
        updated = %(now)s
    WHERE tenant_id = %(tenant_id)s
      AND email = %(address)s
    RETURNING id
), particulars_of_events AS (
    UPDATE email_events
    SET payload = NULL
    FROM forgotten
    WHERE email_events.tenant_id = %(tenant_id)s
      AND email_events.lead_id = forgotten.id
      AND email_events.payload IS NOT NULL
), messages_to_read_again AS (
    -- Whoever follows the changes of messages learns of it in the same moment as of the lead.
    UPDATE email_messages
    SET updated = %(now)s
    FROM forgotten
    WHERE email_messages.tenant_id = %(tenant_id)s
      AND email_messages.lead_id = forgotten.id
)
INSERT INTO admin_audit_events (
    tenant_id, action, category, resource_type, resource_id, data_classification, retention_category, occurred_at
)
SELECT %(tenant_id)s, 'person.erased', 'deletion', 'lead', id::text, 'internal', 'standard', %(now)s
FROM forgotten;
