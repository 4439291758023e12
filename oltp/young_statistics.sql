-- name: analyze_young_tables
-- Statements for tables that mail is loaded into and that have grown manifold since they were analyzed, if they ever were. How much a
-- table has grown its size says: counts of rows reach the server's statistics only when a session ends or rests.
SELECT format('ANALYZE %%I.%%I', namespace.nspname, class.relname) AS statement
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
LEFT JOIN pg_inherits AS part ON part.inhrelid = class.oid
WHERE class.relkind = 'r'
  AND coalesce(part.inhparent, class.oid) IN (
      'companies'::regclass, 'domains'::regclass, 'email_accounts'::regclass, 'leads'::regclass, 'email_messages'::regclass,
      'email_message_bodies'::regclass, 'email_events'::regclass, 'mail_intake'::regclass
  )
  AND pg_relation_size(class.oid) > 0
  AND pg_relation_size(class.oid) >= %(growth)s * greatest(class.relpages, 0) * current_setting('block_size')::bigint
ORDER BY class.relname;
