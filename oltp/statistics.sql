-- name: table_statistics
-- Size, row security and range of partitions of every table; a partitioned table counts with its partitions.
WITH parts AS (
    SELECT tables.oid AS table_oid, parts.relid AS part_oid
    FROM pg_catalog.pg_class AS tables
    CROSS JOIN LATERAL (
        SELECT tree.relid FROM pg_partition_tree(tables.oid) AS tree WHERE tree.isleaf AND tables.relkind = 'p'
        UNION ALL
        SELECT tables.oid WHERE tables.relkind = 'r'
    ) AS parts
    WHERE tables.relnamespace = 'public'::regnamespace
      AND tables.relkind IN ('r', 'p')
      AND NOT tables.relispartition
      AND tables.relname <> 'schema_version'
)
SELECT
    tables.relname::text AS table,
    sum(pg_total_relation_size(parts.part_oid))::bigint AS size_bytes,
    tables.relrowsecurity AND tables.relforcerowsecurity
        AND bool_and(leaves.relrowsecurity AND leaves.relforcerowsecurity) AS row_security,
    min(right(leaves.relname, 7)) FILTER (WHERE leaves.relname ~ '_[0-9]{4}_[0-9]{2}$') AS oldest_partition,
    max(right(leaves.relname, 7)) FILTER (WHERE leaves.relname ~ '_[0-9]{4}_[0-9]{2}$') AS newest_partition
FROM parts
JOIN pg_catalog.pg_class AS tables ON tables.oid = parts.table_oid
JOIN pg_catalog.pg_class AS leaves ON leaves.oid = parts.part_oid
GROUP BY tables.oid, tables.relname, tables.relrowsecurity, tables.relforcerowsecurity
ORDER BY tables.relname;

-- name: first_day_of_new_events
-- First UTC day of the events that were ingested since one time and happened since another; empty when there are none.
SELECT min(occurred_at AT TIME ZONE 'UTC')::date AS first_day
FROM email_events
WHERE ingested_at >= %(ingested_since)s
  AND occurred_at >= %(occurred_since)s;
