-- Monthly partitions of the growing tables.

-- name: ensure_partitions
CALL app.ensure_partitions(%(from_month)s, %(to_month)s);

-- name: newest_month
-- The newest month that every growing table has.
SELECT min(newest) AS newest_month
FROM (
    SELECT max(to_date(right(partitions.relname, 7), 'YYYY_MM')) AS newest
    FROM pg_catalog.pg_inherits AS links
    JOIN pg_catalog.pg_class AS partitions ON partitions.oid = links.inhrelid
    JOIN pg_catalog.pg_class AS tables ON tables.oid = links.inhparent
    WHERE tables.relnamespace = 'public'::regnamespace
      AND tables.relkind = 'p'
      AND partitions.relname ~ '_[0-9]{4}_[0-9]{2}$'
    GROUP BY tables.oid
) AS newest_of_each;

-- name: partitions
-- Every partition with its size.
SELECT
    tables.relname AS table_name,
    partitions.relname AS partition_name,
    pg_total_relation_size(partitions.oid) AS size_bytes,
    pg_get_expr(partitions.relpartbound, partitions.oid) AS bounds
FROM pg_catalog.pg_inherits AS links
JOIN pg_catalog.pg_class AS partitions ON partitions.oid = links.inhrelid
JOIN pg_catalog.pg_class AS tables ON tables.oid = links.inhparent
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind = 'p'
ORDER BY tables.relname, partitions.relname;

-- name: default_partitions
SELECT tables.relname AS table_name, partitions.relname AS partition_name
FROM pg_catalog.pg_partitioned_table AS cut
JOIN pg_catalog.pg_class AS tables ON tables.oid = cut.partrelid
JOIN pg_catalog.pg_class AS partitions ON partitions.oid = cut.partdefid
WHERE tables.relnamespace = 'public'::regnamespace
ORDER BY tables.relname;
