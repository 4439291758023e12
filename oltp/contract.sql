-- What a table is beyond its columns, as lines that can be compared.

-- name: contract
-- Defaults, rules, keys, indexes, policies, rights, triggers, functions and their own tables; partitions left out, they are made
-- from their table.
WITH own_tables AS (
    SELECT tables.oid, tables.relname, tables.relowner, tables.relacl, tables.reloptions
    FROM pg_catalog.pg_class AS tables
    WHERE tables.relnamespace = 'public'::regnamespace
      AND tables.relkind IN ('r', 'p')
      AND NOT tables.relispartition
      AND tables.relname <> 'schema_version'
), lines AS (
    SELECT own_tables.relname AS thing, 'default' AS kind, columns.attname::text AS name,
        CASE columns.attidentity
            WHEN '' THEN pg_get_expr(defaults.adbin, defaults.adrelid)
            WHEN 'd' THEN 'identity by default'
            ELSE 'identity always'
        END AS definition
    FROM own_tables
    JOIN pg_catalog.pg_attribute AS columns ON columns.attrelid = own_tables.oid
    LEFT JOIN pg_catalog.pg_attrdef AS defaults
        ON defaults.adrelid = columns.attrelid AND defaults.adnum = columns.attnum
    WHERE columns.attnum > 0 AND (defaults.oid IS NOT NULL OR columns.attidentity <> '')
    UNION ALL
    SELECT own_tables.relname, 'rule', rules.conname, pg_get_constraintdef(rules.oid)
    FROM own_tables
    JOIN pg_catalog.pg_constraint AS rules ON rules.conrelid = own_tables.oid
    WHERE rules.contype IN ('c', 'f', 'p', 'u', 'x') AND rules.conparentid = 0
    UNION ALL
    SELECT own_tables.relname, 'index', parts.relname, pg_get_indexdef(parts.oid)
    FROM own_tables
    JOIN pg_catalog.pg_index AS indexes ON indexes.indrelid = own_tables.oid
    JOIN pg_catalog.pg_class AS parts ON parts.oid = indexes.indexrelid
    WHERE indexes.indisvalid
      AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_constraint AS rules
          WHERE rules.conindid = parts.oid AND rules.contype IN ('p', 'u', 'x')
      )
    UNION ALL
    SELECT policies.tablename, 'policy', policies.policyname,
        concat_ws(' ', policies.permissive, policies.cmd, 'TO', array_to_string(policies.roles, ', '),
            'USING', policies.qual, 'CHECK', policies.with_check)
    FROM pg_catalog.pg_policies AS policies
    JOIN own_tables ON own_tables.relname = policies.tablename
    WHERE policies.schemaname = 'public'
    UNION ALL
    SELECT own_tables.relname, 'right', CASE rights.grantee WHEN 0 THEN 'everybody' ELSE rights.grantee::regrole::text END,
        string_agg(rights.privilege_type, ', ' ORDER BY rights.privilege_type)
    FROM own_tables
    CROSS JOIN LATERAL aclexplode(own_tables.relacl) AS rights
    WHERE rights.grantee <> own_tables.relowner
    GROUP BY own_tables.relname, rights.grantee
    UNION ALL
    SELECT own_tables.relname, 'right by column',
        CASE rights.grantee WHEN 0 THEN 'everybody' ELSE rights.grantee::regrole::text END,
        rights.privilege_type || ' (' || string_agg(columns.attname, ', ' ORDER BY columns.attnum) || ')'
    FROM own_tables
    JOIN pg_catalog.pg_attribute AS columns ON columns.attrelid = own_tables.oid
    CROSS JOIN LATERAL aclexplode(columns.attacl) AS rights
    GROUP BY own_tables.relname, rights.grantee, rights.privilege_type
    UNION ALL
    SELECT own_tables.relname, 'trigger', triggers.tgname,
        pg_get_triggerdef(triggers.oid) || CASE triggers.tgenabled WHEN 'O' THEN '' ELSE ' (not enabled)' END
    FROM own_tables
    JOIN pg_catalog.pg_trigger AS triggers ON triggers.tgrelid = own_tables.oid
    WHERE NOT triggers.tgisinternal
    UNION ALL
    SELECT own_tables.relname, 'storage', '', array_to_string(own_tables.reloptions, ', ')
    FROM own_tables
    WHERE own_tables.reloptions IS NOT NULL
    UNION ALL
    -- The text of a function is told by its digest; that of uuidv7() depends on the server's version, that of the functions of
    -- contexts on whether the database is sealed (contexts.py).
    SELECT 'app',
        CASE
            WHEN functions.proname IN ('context_is_proven', 'current_tenant_id', 'current_user_id')
                AND pg_get_function_sqlbody('app.context_is_proven()'::regprocedure) <> 'RETURN true'
            THEN 'function when sealed'
            ELSE 'function'
        END,
        functions.oid::regprocedure::text,
        concat_ws(' ',
            'owner', functions.proowner::regrole,
            CASE WHEN functions.prosecdef THEN 'security definer' END,
            CASE functions.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
            CASE WHEN functions.proleakproof THEN 'leakproof' END,
            array_to_string(functions.proconfig, ' '),
            'for', (
                SELECT string_agg(rights.grantee::regrole::text, ', ' ORDER BY rights.grantee::regrole::text)
                FROM aclexplode(functions.proacl) AS rights
                WHERE rights.grantee NOT IN (0, functions.proowner)
            ),
            CASE
                WHEN functions.proacl IS NULL
                    OR EXISTS (SELECT FROM aclexplode(functions.proacl) AS rights WHERE rights.grantee = 0)
                THEN 'and everybody'
            END,
            CASE
                WHEN functions.proname <> 'uuidv7'
                THEN 'text ' || left(md5(coalesce(nullif(functions.prosrc, ''), pg_get_function_sqlbody(functions.oid))), 12)
            END
        )
    FROM pg_catalog.pg_proc AS functions
    WHERE functions.pronamespace = 'app'::regnamespace
    UNION ALL
    SELECT 'app', 'table', tables.oid::regclass::text,
        concat_ws(' ',
            'owner', tables.relowner::regrole,
            'for', (
                SELECT string_agg(CASE rights.grantee WHEN 0 THEN 'everybody' ELSE rights.grantee::regrole::text END, ', ')
                FROM aclexplode(tables.relacl) AS rights
                WHERE rights.grantee <> tables.relowner
            ),
            'columns', (
                SELECT string_agg(
                    concat_ws(' ', columns.attname, format_type(columns.atttypid, columns.atttypmod),
                        CASE WHEN columns.attnotnull THEN 'not null' END, 'for ' || columns.attacl::text),
                    ', ' ORDER BY columns.attnum
                )
                FROM pg_catalog.pg_attribute AS columns
                WHERE columns.attrelid = tables.oid AND columns.attnum > 0 AND NOT columns.attisdropped
            )
        )
    FROM pg_catalog.pg_class AS tables
    WHERE tables.relnamespace = 'app'::regnamespace AND tables.relkind NOT IN ('i', 'S')
)
SELECT thing, kind, name, regexp_replace(definition, '\s+', ' ', 'g') AS definition
FROM lines
ORDER BY thing, kind, name, definition;
