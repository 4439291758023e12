-- What seeding asks.

-- name: take_turns
-- Two seedings of the same thing take turns; locks are taken in one order, so that they never wait for one another in a ring.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.seeding ' || ordered.name, 0))
FROM (SELECT unnest(%(names)s::text[]) AS name ORDER BY name) AS ordered;

-- name: plan_exists
SELECT true FROM plans WHERE id = %(id)s;

-- name: tenants_there
SELECT id FROM tenants WHERE id = ANY (%(ids)s);

-- name: unsettled_tables
-- Tables and partitions of ours, larger than a few pages, with pages that are not known to be visible to everybody: what
-- VACUUM has not seen since it was written. Smaller ones are read whole anyway.
SELECT tables.relname::text AS table_name
FROM pg_catalog.pg_class AS tables
CROSS JOIN LATERAL (SELECT pg_relation_size(tables.oid) / current_setting('block_size')::bigint AS pages) AS sizes
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind = 'r'
  AND pg_has_role(tables.relowner, 'USAGE')
  AND sizes.pages > 8
  AND tables.relallvisible < sizes.pages
ORDER BY tables.relname;
