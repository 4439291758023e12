-- Values of the tenant with the most messages, to explain the application's statements with.

-- name: busiest_tenant
-- Of those with people and bills: mail that was only loaded has no samples of much that statements name.
SELECT tenant_id
FROM email_messages
WHERE campaign_id IS NOT NULL
  AND tenant_id IN (SELECT tenant_id FROM subscriptions)
  AND tenant_id IN (SELECT tenant_id FROM tenant_users)
GROUP BY tenant_id
ORDER BY count(*) DESC, tenant_id
LIMIT 1;

-- name: sample_values
-- One row of each kind that statements name, all of one tenant.
SELECT
    messages.company_id, messages.email_account_id, messages.campaign_id, messages.lead_id, messages.id AS message_id,
    leads.email, left(leads.email, 3) AS prefix,
    (SELECT user_id FROM tenant_users WHERE tenant_id = messages.tenant_id LIMIT 1) AS user_id,
    (SELECT id FROM subscriptions WHERE tenant_id = messages.tenant_id LIMIT 1) AS subscription_id,
    (SELECT stripe_subscription_id FROM subscriptions WHERE tenant_id = messages.tenant_id LIMIT 1) AS stripe_subscription_id,
    (SELECT current_period_end FROM subscriptions WHERE tenant_id = messages.tenant_id LIMIT 1) AS current_period_end,
    (SELECT id FROM domains WHERE tenant_id = messages.tenant_id AND company_id = messages.company_id LIMIT 1) AS domain_id,
    (SELECT id FROM templates WHERE tenant_id = messages.tenant_id LIMIT 1) AS template_id,
    (SELECT id FROM folders WHERE tenant_id = messages.tenant_id LIMIT 1) AS folder_id,
    (SELECT updated FROM campaigns WHERE tenant_id = messages.tenant_id AND id = messages.campaign_id) AS updated,
    (SELECT max(created) - interval '7 days' FROM tenants) AS since
FROM email_messages AS messages
JOIN leads
    ON leads.tenant_id = messages.tenant_id
    AND leads.id = messages.lead_id
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.campaign_id IS NOT NULL
ORDER BY messages.id DESC
LIMIT 1;

-- name: index_of_partition
-- The index of the whole table that each index of a partition belongs to.
SELECT parts.relname AS part_name, wholes.relname AS whole_name
FROM pg_catalog.pg_inherits AS links
JOIN pg_catalog.pg_class AS parts ON parts.oid = links.inhrelid
JOIN pg_catalog.pg_class AS wholes ON wholes.oid = links.inhparent
WHERE parts.relkind IN ('i', 'I');

-- name: small_tables
-- Tables and partitions of so few pages, with their indexes.
WITH small AS (
    SELECT tables.oid, tables.relname
    FROM pg_catalog.pg_class AS tables
    WHERE tables.relnamespace = 'public'::regnamespace
      AND tables.relkind = 'r'
      AND pg_relation_size(tables.oid) <= %(pages)s * current_setting('block_size')::bigint
)
SELECT relname AS name FROM small
UNION ALL
SELECT indexes.relname
FROM small
JOIN pg_catalog.pg_index AS links ON links.indrelid = small.oid
JOIN pg_catalog.pg_class AS indexes ON indexes.oid = links.indexrelid;

-- name: as_if_large
SET LOCAL enable_seqscan = off;
