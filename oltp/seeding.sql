-- What seeding asks.

-- name: take_turns
-- Two seedings of the same thing take turns; locks are taken in one order, so that they never wait for one another in a ring.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.seeding ' || ordered.name, 0))
FROM (SELECT unnest(%(names)s::text[]) AS name ORDER BY name) AS ordered;

-- name: plan_exists
SELECT true FROM plans WHERE id = %(id)s;

-- name: tenants_there
SELECT id FROM tenants WHERE id = ANY (%(ids)s);

-- name: write_out_steadily
-- The kernel is told to write as pages come, or it would do so all at once while others wait for their commits.
SET backend_flush_after = '1MB';

-- name: unsettled_tables
-- Tables and partitions of ours, larger than a few pages, with more than a tenth of them not known to be visible to everybody:
-- what VACUUM has not seen since it was written. Smaller ones are read whole anyway; the last pages of others may be empty
-- ones, made ahead, which VACUUM does not mark.
SELECT tables.relname::text AS table_name
FROM pg_catalog.pg_class AS tables
CROSS JOIN LATERAL (SELECT pg_relation_size(tables.oid) / current_setting('block_size')::bigint AS pages) AS sizes
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind = 'r'
  AND pg_has_role(tables.relowner, 'USAGE')
  AND sizes.pages > 8
  AND tables.relallvisible < 0.9 * sizes.pages
ORDER BY tables.relname;
