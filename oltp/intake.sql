-- Taking mail in: one transaction a batch, as the loader, under a lock of the tenant.
--
-- What a batch names is looked up one by one (LATERAL, kept apart by OFFSET 0): of a tenant that grows the planner
-- knows too late, and would rather read all its rows than so many entries of an index.

-- name: lock_tenant
-- Two loads of one tenant take turns, batch by batch: what one has committed the other sees.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.intake ' || %(tenant_id)s::uuid::text, 0));

-- name: add_tenant
INSERT INTO tenants (id, name)
VALUES (%(tenant_id)s, %(name)s)
ON CONFLICT DO NOTHING;

-- name: add_company
INSERT INTO companies (tenant_id, id, name, workspace_name)
VALUES (%(tenant_id)s, %(id)s, left(%(name)s, 100), left(%(name)s, 255))
ON CONFLICT DO NOTHING;

-- name: known_items
-- Which items of the batch the ledger already has.
SELECT found.item_name, found.raw_sha256
FROM unnest(%(item_names)s::text[]) AS wanted (item_name)
CROSS JOIN LATERAL (
    SELECT item_name, raw_sha256
    FROM mail_intake
    WHERE tenant_id = %(tenant_id)s
      AND source_name = %(source_name)s
      AND item_name = wanted.item_name
    OFFSET 0
) AS found;

-- name: known_digests
-- Which of the batch's bytes were loaded before, and as which message.
SELECT found.raw_sha256, found.message_id
FROM unnest(%(digests)s::bytea[]) AS wanted (raw_sha256)
CROSS JOIN LATERAL (
    SELECT raw_sha256, message_id
    FROM mail_intake
    WHERE tenant_id = %(tenant_id)s
      AND raw_sha256 = wanted.raw_sha256
      AND outcome = 'loaded'
    OFFSET 0
) AS found;

-- name: known_mailboxes
SELECT found.email, found.id
FROM unnest(%(addresses)s::text[]) AS wanted (email)
CROSS JOIN LATERAL (
    SELECT email, id
    FROM email_accounts
    WHERE tenant_id = %(tenant_id)s
      AND email = wanted.email
    OFFSET 0
) AS found;

-- name: known_leads
SELECT found.email, found.id
FROM unnest(%(addresses)s::text[]) AS wanted (email)
CROSS JOIN LATERAL (
    SELECT email, id
    FROM leads
    WHERE tenant_id = %(tenant_id)s
      AND email = wanted.email
    OFFSET 0
) AS found;

-- name: known_parents
-- Messages that the batch answers. A Message-ID is not unique in the wild: the earliest message with it counts.
SELECT DISTINCT ON (found.message_id_header) found.*
FROM unnest(%(headers)s::text[]) AS wanted (header)
CROSS JOIN LATERAL (
    SELECT
        message_id_header, id, direction, message_type, from_email, email_account_id, lead_id,
        campaign_id, campaign_sequence_step_id
    FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND message_id_header = wanted.header
    OFFSET 0
) AS found
ORDER BY found.message_id_header, found.id;

-- name: add_domains
INSERT INTO domains (tenant_id, id, company_id, domain)
SELECT %(tenant_id)s, added.id, %(company_id)s, added.domain
FROM unnest(%(ids)s::uuid[], %(domains)s::text[]) AS added (id, domain)
ORDER BY added.domain
ON CONFLICT (tenant_id, domain) DO NOTHING;

-- name: add_mailboxes
INSERT INTO email_accounts (tenant_id, id, domain_id, email, provider)
SELECT %(tenant_id)s, added.id, domains.id, added.email, 'imported'
FROM unnest(%(ids)s::uuid[], %(addresses)s::text[]) AS added (id, email)
JOIN domains
    ON domains.tenant_id = %(tenant_id)s
    AND domains.domain = split_part(added.email, '@', 2)
ORDER BY added.email
ON CONFLICT (tenant_id, email) DO NOTHING;

-- name: add_leads
INSERT INTO leads (tenant_id, id, email, name)
SELECT %(tenant_id)s, added.id, added.email, nullif(added.name, '')
FROM unnest(%(ids)s::uuid[], %(addresses)s::text[], %(names)s::text[]) AS added (id, email, name)
ORDER BY added.email
ON CONFLICT (tenant_id, email) DO NOTHING;

-- name: note_answers
-- First answer and first bounce of messages that were loaded before; what is set stays.
UPDATE email_messages AS messages
SET replied = coalesce(messages.replied, noted.replied),
    bounced = coalesce(messages.bounced, noted.bounced),
    bounce_type = coalesce(messages.bounce_type, noted.bounce_type),
    status = CASE WHEN noted.bounce_type IS NULL THEN messages.status ELSE 'bounced' END,
    updated = %(now)s,
    xid = pg_current_xact_id()
FROM unnest(%(ids)s::uuid[], %(replied)s::timestamptz[], %(bounced)s::timestamptz[], %(bounce_types)s::text[])
    AS noted (id, replied, bounced, bounce_type)
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.id = noted.id;

-- name: note_lead_statuses
UPDATE leads
SET status = noted.status, updated = %(now)s
FROM unnest(%(ids)s::uuid[], %(statuses)s::text[]) AS noted (id, status)
WHERE leads.tenant_id = %(tenant_id)s
  AND leads.id = noted.id
  AND leads.status = 'active';

-- name: link_waiting_answers
-- Answers that were loaded before what they answer. The answer nearest in its own headers wins.
WITH arrived AS (
    SELECT header, id
    FROM unnest(%(headers)s::text[], %(ids)s::uuid[]) AS message (header, id)
),
waiting AS (
    SELECT DISTINCT ON (answers.message_id)
        answers.message_id, arrived.id AS parent_id
    FROM arrived
    CROSS JOIN LATERAL (
        -- By nothing but the header: every other condition is an index of much more to the planner.
        SELECT tenant_id, message_id, thread_headers, outcome
        FROM mail_intake
        WHERE thread_headers @> ARRAY[arrived.header]
        OFFSET 0
    ) AS answers
    WHERE answers.tenant_id = %(tenant_id)s
      AND answers.outcome = 'loaded'
      AND answers.message_id <> arrived.id
    ORDER BY answers.message_id, array_position(answers.thread_headers, arrived.header), arrived.id
)
UPDATE email_messages AS messages
SET parent_message_id = waiting.parent_id, updated = %(now)s, xid = pg_current_xact_id()
FROM waiting
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.id = waiting.message_id
  AND messages.parent_message_id IS NULL;

-- name: items
-- Items of the ledger with the message each became, by keyset.
SELECT
    intake.tenant_id, intake.source_name, intake.item_name, intake.outcome, intake.message_id,
    messages.content_storage_key AS storage_key, encode(intake.raw_sha256, 'hex') AS sha256, intake.raw_size_bytes,
    intake.id
FROM mail_intake AS intake
LEFT JOIN email_messages AS messages
    ON messages.tenant_id = intake.tenant_id
    AND messages.id = intake.message_id
WHERE intake.outcome <> 'set_aside'
  AND (%(source_name)s::text IS NULL OR intake.source_name = %(source_name)s)
  AND (intake.tenant_id, intake.id) > (%(after_tenant)s::uuid, %(after_id)s::uuid)
ORDER BY intake.tenant_id, intake.id
LIMIT %(limit)s;

-- name: set_aside
SELECT
    tenant_id, id, source_name, item_name, reason, encode(raw_sha256, 'hex') AS sha256, raw_size_bytes,
    raw_message IS NOT NULL AS is_kept, created
FROM mail_intake
WHERE outcome = 'set_aside'
  AND (%(source_name)s::text IS NULL OR source_name = %(source_name)s)
ORDER BY tenant_id, source_name, item_name
LIMIT %(limit)s;

-- name: set_aside_bytes
SELECT raw_message
FROM mail_intake
WHERE id = %(id)s
  AND outcome = 'set_aside';
