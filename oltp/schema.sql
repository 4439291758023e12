-- Questions about the live schema, compared with the declarations in tables.py.

-- name: one_at_a_time
-- Released at the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.schema', 0));

-- name: hide_values_from_planner
-- Does nothing when all are hidden.
CALL app.hide_values_from_planner();

-- name: rules_not_yet_valid
-- Rules that a migration added to a table with rows: new rows keep to them, old ones are still to be looked at.
SELECT tables.relname AS table_name, rules.conname AS rule_name
FROM pg_catalog.pg_constraint AS rules
JOIN pg_catalog.pg_class AS tables ON tables.oid = rules.conrelid
WHERE tables.relnamespace = 'public'::regnamespace
  AND NOT rules.convalidated
  AND NOT tables.relispartition
ORDER BY tables.relname, rules.conname;

-- name: live_columns
-- Every column of every table, partitions left out.
SELECT
    tables.relname AS table_name,
    columns.attname AS column_name,
    replace(
        replace(format_type(columns.atttypid, columns.atttypmod), 'character varying', 'varchar'),
        'timestamp with time zone', 'timestamptz'
    ) AS column_type,
    columns.attnotnull AS required,
    coalesce(col_description(tables.oid, columns.attnum), '') AS comment
FROM pg_catalog.pg_class AS tables
JOIN pg_catalog.pg_attribute AS columns ON columns.attrelid = tables.oid
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind IN ('r', 'p')
  AND NOT tables.relispartition
  AND tables.relname <> 'schema_version'
  AND columns.attnum > 0
  AND NOT columns.attisdropped
ORDER BY tables.relname, columns.attnum;

-- name: live_tables
-- Primary key, foreign keys, partition key, comment and isolation of every table, partitions left out.
SELECT
    tables.relname AS table_name,
    coalesce(obj_description(tables.oid, 'pg_class'), '') AS comment,
    tables.relrowsecurity AND tables.relforcerowsecurity AS forced_row_security,
    ARRAY(
        SELECT columns.attname::text
        FROM pg_catalog.pg_constraint AS keys
        CROSS JOIN LATERAL unnest(keys.conkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_catalog.pg_attribute AS columns
            ON columns.attrelid = tables.oid AND columns.attnum = part.number
        WHERE keys.conrelid = tables.oid AND keys.contype = 'p'
        ORDER BY part.place
    ) AS primary_key,
    ARRAY(
        SELECT DISTINCT referenced.relname::text
        FROM pg_catalog.pg_constraint AS keys
        JOIN pg_catalog.pg_class AS referenced ON referenced.oid = keys.confrelid
        WHERE keys.conrelid = tables.oid AND keys.contype = 'f'
          AND NOT referenced.relispartition
        ORDER BY 1
    ) AS referenced_tables,
    (
        SELECT columns.attname::text
        FROM pg_catalog.pg_partitioned_table AS cut
        JOIN pg_catalog.pg_attribute AS columns
            ON columns.attrelid = tables.oid AND columns.attnum = cut.partattrs[0]
        WHERE cut.partrelid = tables.oid
    ) AS partitioned_by
FROM pg_catalog.pg_class AS tables
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind IN ('r', 'p')
  AND NOT tables.relispartition
  AND tables.relname <> 'schema_version'
ORDER BY tables.relname;

-- name: unprotected_partitions
-- Partitions that lack forced row level security, that somebody but the owner was granted, or that have another policy than
-- their table.
SELECT partitions.relname AS partition_name
FROM pg_catalog.pg_class AS partitions
WHERE partitions.relnamespace = 'public'::regnamespace
  AND partitions.relispartition
  AND partitions.relkind IN ('r', 'p')
  AND (
      NOT (partitions.relrowsecurity AND partitions.relforcerowsecurity)
      OR EXISTS (
          SELECT
          FROM aclexplode(partitions.relacl) AS granted
          WHERE granted.grantee <> partitions.relowner
      )
      OR EXISTS (
          SELECT policies.polname, policies.polcmd, policies.polroles,
              pg_get_expr(policies.polqual, policies.polrelid), pg_get_expr(policies.polwithcheck, policies.polrelid)
          FROM pg_catalog.pg_policy AS policies
          WHERE policies.polrelid = partitions.oid
          EXCEPT
          SELECT policies.polname, policies.polcmd, policies.polroles,
              pg_get_expr(policies.polqual, policies.polrelid), pg_get_expr(policies.polwithcheck, policies.polrelid)
          FROM pg_catalog.pg_policy AS policies
          JOIN pg_catalog.pg_inherits AS links ON links.inhparent = policies.polrelid
          WHERE links.inhrelid = partitions.oid
      )
  )
ORDER BY partitions.relname;

-- name: login_of_application_is_member
SELECT pg_has_role(%(login)s, 'pm_app', 'MEMBER') AS is_member;
