-- Statements of the application, each with what it is for. They run in a session of a tenant (tenancy.py), so that none
-- names its tenant but where joins of many rows need the planner to know it. Lists go on by key, never by OFFSET. The last
-- ones are those of the platform, which knows no tenant, and of staff, who see all tenants and may only read.

-- name: my_tenants
-- Tenants of a user, asked before one is chosen; by name.
SELECT id, name, created, updated, roles
FROM app.my_tenants();

-- name: create_tenant
-- A tenant with the user of the session as its owner.
SELECT app.create_tenant(%(name)s);

-- name: rejoin_tenant
-- Adds a member, or brings back one who had left.
INSERT INTO tenant_users (user_id, email, roles)
VALUES (%(user_id)s, %(email)s, %(roles)s)
ON CONFLICT (tenant_id, user_id) DO UPDATE
SET deleted = NULL, roles = excluded.roles, email = excluded.email, updated = now();

-- name: count_domains_of_company
-- Limit of a plan.
SELECT count(*)
FROM domains
WHERE company_id = %(company_id)s;

-- name: count_mailboxes_of_company
-- Limit of a plan.
SELECT count(*)
FROM domains
JOIN email_accounts
    ON email_accounts.tenant_id = domains.tenant_id
    AND email_accounts.domain_id = domains.id
WHERE domains.company_id = %(company_id)s;

-- name: count_members
-- Limit of a plan.
SELECT count(*)
FROM tenant_users
WHERE deleted IS NULL;

-- name: campaigns_by_status
-- The 20 campaigns of a status that changed last.
SELECT id, name, status, scheduled, updated
FROM campaigns
WHERE status = %(status)s
ORDER BY updated DESC, id DESC
LIMIT 20;

-- name: campaigns_by_status_next
-- The page after one that ended at (updated, id).
SELECT id, name, status, scheduled, updated
FROM campaigns
WHERE status = %(status)s
  AND (updated, id) < (%(updated)s, %(id)s)
ORDER BY updated DESC, id DESC
LIMIT 20;

-- name: steps_of_campaign
SELECT id, step_order, step_type, template_id, wait_duration_hours, condition_type, executed_count
FROM campaign_sequence_steps
WHERE campaign_id = %(campaign_id)s
ORDER BY step_order;

-- name: leads_by_status
-- A page of 50.
SELECT id, email, name, company, updated
FROM leads
WHERE status = %(status)s
ORDER BY updated DESC, id DESC
LIMIT 50;

-- name: leads_by_status_next
-- The page after one that ended at (updated, id).
SELECT id, email, name, company, updated
FROM leads
WHERE status = %(status)s
  AND (updated, id) < (%(updated)s, %(id)s)
ORDER BY updated DESC, id DESC
LIMIT 50;

-- name: leads_by_prefix
-- Search by the start of an address: ^@ keeps its index under row level security, LIKE does not.
SELECT id, email, name, company, status
FROM leads
WHERE email ^@ %(prefix)s
  AND status = %(status)s
ORDER BY email USING ~<~
LIMIT 50;

-- name: lead_by_email
SELECT id, name, company, status
FROM leads
WHERE email = %(email)s;

-- name: templates_of_folder
SELECT templates.id, templates.name, templates.subject, templates.is_started, templates.updated
FROM template_folders
JOIN templates
    ON templates.tenant_id = template_folders.tenant_id
    AND templates.id = template_folders.template_id
WHERE template_folders.folder_id = %(folder_id)s
ORDER BY templates.created DESC, templates.id DESC;

-- name: note_template_use
-- The counter is in no index, so that the update stays on its page.
UPDATE templates
SET usage_count = usage_count + 1, last_used = now()
WHERE id = %(template_id)s;

-- name: folder_counts
SELECT folders.id, folders.name, count(template_folders.id) AS templates
FROM folders
LEFT JOIN template_folders
    ON template_folders.tenant_id = folders.tenant_id
    AND template_folders.folder_id = folders.id
GROUP BY folders.tenant_id, folders.id, folders.name
ORDER BY folders.name;

-- name: live_subscription
SELECT id, plan_id, status, current_period_end
FROM subscriptions
WHERE status IN ('active', 'past_due', 'trialing');

-- name: set_subscription_status
-- What Stripe says of a subscription, in a session of the tenant that tenant_of_subscription names.
UPDATE subscriptions
SET status = %(status)s, current_period_end = %(current_period_end)s, updated = now()
WHERE stripe_subscription_id = %(stripe_subscription_id)s;

-- name: last_payment
SELECT status, amount, processed
FROM payments
WHERE subscription_id = %(subscription_id)s
ORDER BY created DESC
LIMIT 1;

-- name: clear_primary_domain
-- First half of a switch of the primary domain.
UPDATE domains
SET is_primary = false, updated = now()
WHERE company_id = %(company_id)s
  AND is_primary;

-- name: set_primary_domain
-- Second half.
UPDATE domains
SET is_primary = true, updated = now()
WHERE id = %(domain_id)s;

-- name: inbox
-- The newest 50 inbound messages of a mailbox.
SELECT id, from_email, subject, message_type, created
FROM email_messages
WHERE email_account_id = %(email_account_id)s
  AND direction = 'inbound'
ORDER BY id DESC
LIMIT 50;

-- name: messages_of_lead
SELECT id, direction, subject, status, sent, opened, replied
FROM email_messages
WHERE lead_id = %(lead_id)s
ORDER BY id DESC
LIMIT 50;

-- name: message
SELECT id, direction, subject, status, content_storage_key, sent, delivered, opened
FROM email_messages
WHERE id = %(message_id)s;

-- name: events_of_message
-- Nothing happened to a message before the time in its id: older months are not looked at.
SELECT event_type, occurred_at, payload
FROM email_events
WHERE message_id = %(message_id)s
  AND occurred_at >= app.uuidv7_time(%(message_id)s)
ORDER BY occurred_at DESC
LIMIT 50;

-- name: events_of_lead
SELECT event_type, occurred_at, message_id
FROM email_events
WHERE lead_id = %(lead_id)s
  AND occurred_at >= app.uuidv7_time(%(lead_id)s)
ORDER BY occurred_at DESC
LIMIT 50;

-- name: events_of_campaign
SELECT event_type, occurred_at, message_id, lead_id
FROM email_events
WHERE campaign_id = %(campaign_id)s
  AND occurred_at >= app.uuidv7_time(%(campaign_id)s)
ORDER BY occurred_at DESC
LIMIT 50;

-- name: tenant_of_subscription
-- Of the platform: Stripe's webhook knows a subscription and no tenant.
SELECT app.tenant_of_subscription(%(stripe_subscription_id)s);

-- name: platform_totals
-- Of staff, over all tenants: each count reads a partial index of its own, never a table.
SELECT
    (SELECT count(*) FROM tenants WHERE deleted IS NULL) AS tenants,
    (SELECT count(*) FROM users WHERE deleted IS NULL) AS users,
    (SELECT count(*) FROM subscriptions WHERE status IN ('active', 'past_due', 'trialing')) AS live_subscriptions,
    (SELECT count(*) FROM domains WHERE verification_status = 'verified') AS verified_domains;

-- name: tenants_of_last_days
-- Of staff: the newest 50 tenants that were made since a time, commonly seven days ago.
SELECT id, name, created
FROM tenants
WHERE deleted IS NULL
  AND created >= %(since)s
ORDER BY created DESC, id DESC
LIMIT 50;

-- name: users_of_last_days
-- Of staff: the newest 50 users.
SELECT id, email, created
FROM users
WHERE deleted IS NULL
  AND created >= %(since)s
ORDER BY created DESC, id DESC
LIMIT 50;
