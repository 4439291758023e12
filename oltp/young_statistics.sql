-- name: analyze_young_tables
-- Statements for tables and partitions of ours that have grown manifold since they were analyzed, if they ever were. How much a table has
-- grown its size says: counts of rows reach the server's statistics only when a session ends or rests.
SELECT format('ANALYZE public.%%I', tables.relname) AS statement
FROM pg_catalog.pg_class AS tables
CROSS JOIN LATERAL (SELECT pg_relation_size(tables.oid) / current_setting('block_size')::bigint AS pages) AS sizes
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind = 'r'
  AND pg_has_role(tables.relowner, 'USAGE')
  AND sizes.pages > 0
  AND sizes.pages >= %(growth)s * greatest(tables.relpages, 0)
ORDER BY tables.relname;
