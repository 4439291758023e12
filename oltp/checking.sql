-- Looking for what constraints do not forbid.

-- name: events_without_message
-- Events have no foreign key, which doubles the rate they are taken in at; this finds what one would have refused.
SELECT count(*)
FROM email_events AS events
WHERE events.occurred_at >= %(since)s
  AND NOT EXISTS (
      SELECT
      FROM email_messages AS messages
      WHERE messages.tenant_id = events.tenant_id
        AND messages.id = events.message_id
  );

-- name: messages_without_parent
-- Answers whose parent is gone although its month is still here.
SELECT count(*)
FROM email_messages AS answers
WHERE answers.parent_message_id IS NOT NULL
  AND answers.parent_message_id >= app.uuidv7_lower_bound(%(since)s)
  AND NOT EXISTS (
      SELECT
      FROM email_messages AS parents
      WHERE parents.tenant_id = answers.tenant_id
        AND parents.id = answers.parent_message_id
  );

-- name: tables_without_isolation
-- Tables and partitions whose row level security is off or not forced, or that have no policy for the application.
SELECT tables.relname
FROM pg_catalog.pg_class AS tables
WHERE tables.relnamespace = 'public'::regnamespace
  AND tables.relkind IN ('r', 'p')
  AND tables.relname <> 'schema_version'
  AND (
      NOT (tables.relrowsecurity AND tables.relforcerowsecurity)
      OR NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS policies WHERE policies.polrelid = tables.oid)
  )
ORDER BY tables.relname;

-- name: columns_the_planner_samples
-- Columns whose values EXPLAIN would tell: ANALYZE samples them, or has sampled them once.
SELECT columns.table_name || '.' || columns.column_name AS column_name
FROM app.columns_hidden_from_planner() AS columns
WHERE NOT columns.is_hidden
   OR EXISTS (
      SELECT
      FROM pg_catalog.pg_stats AS samples
      WHERE samples.schemaname = 'public'
        AND samples.tablename = columns.table_name
        AND samples.attname = columns.column_name
   )
ORDER BY 1;

-- name: logins_past_isolation
-- Logins of the application that could read past the policies.
SELECT logins.rolname
FROM pg_catalog.pg_roles AS logins
WHERE logins.rolcanlogin
  AND NOT logins.rolsuper
  AND pg_has_role(logins.oid, 'pm_app', 'MEMBER')
  AND NOT pg_has_role(logins.oid, 'pm_owner', 'MEMBER')
  AND (
      logins.rolbypassrls
      OR EXISTS (
          SELECT
          FROM pg_catalog.pg_roles AS groups
          WHERE groups.rolbypassrls AND pg_has_role(logins.oid, groups.oid, 'MEMBER')
      )
  )
ORDER BY logins.rolname;
