-- What a session of one tenant may learn of others by other ways than reading rows.
--
-- EXPLAIN shows how many rows the planner expects, and it expects them from samples of all tenants' values. Halving a range
-- of ids again and again, a session of the application found every tenant's id in a second and a half, and whoever knows a
-- tenant's id can open a session of it. So nothing is sampled that says who, whose or what: ids, addresses, names, texts.
-- States, times and numbers are, because lists need them and they name nobody. Measured at 500 tenants: the same indexes serve.

SET LOCAL ROLE pm_owner;

-- Texts that are states have a rule `..._is_known`, by which they are told from others.
CREATE FUNCTION app.columns_hidden_from_planner()
    RETURNS TABLE (table_oid oid, table_name text, column_name text, column_number smallint, is_hidden boolean)
    LANGUAGE sql STABLE SET search_path = ''
AS $body$
    SELECT tables.oid, tables.relname::text, columns.attname::text, columns.attnum, coalesce(columns.attstattarget, -1) = 0
    FROM pg_catalog.pg_class AS tables
    JOIN pg_catalog.pg_attribute AS columns ON columns.attrelid = tables.oid
    WHERE tables.relnamespace = 'public'::pg_catalog.regnamespace
      AND tables.relkind IN ('r', 'p')
      AND tables.relname <> 'schema_version'
      AND columns.attnum > 0
      AND NOT columns.attisdropped
      AND pg_catalog.format_type(columns.atttypid, NULL) IN (
          'uuid', 'text', 'text[]', 'character varying', 'character', 'inet', 'bytea', 'jsonb'
      )
      AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_constraint AS rules
          WHERE rules.conrelid = tables.oid
            AND rules.contype = 'c'
            AND rules.conname LIKE '%\_is\_known'
            AND columns.attnum = ANY (rules.conkey)
      )
$body$;

COMMENT ON FUNCTION app.columns_hidden_from_planner() IS
    'Columns whose values the planner must not sample, because EXPLAIN would tell them; and whether it does not. For migrations and checks.';

CREATE PROCEDURE app.hide_values_from_planner(which_table text DEFAULT NULL)
    LANGUAGE plpgsql SET search_path = ''
AS $body$
DECLARE
    hidden record;
BEGIN
    FOR hidden IN
        SELECT columns.table_name, columns.column_name
        FROM app.columns_hidden_from_planner() AS columns
        WHERE NOT columns.is_hidden AND columns.table_name = coalesce(which_table, columns.table_name)
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE ONLY public.%I ALTER COLUMN %I SET STATISTICS 0', hidden.table_name, hidden.column_name
        );
    END LOOP;
END
$body$;

COMMENT ON PROCEDURE app.hide_values_from_planner(text) IS
    'Keeps ANALYZE from sampling ids and texts of a table, or of all. For migrations: call it last, after new tables and columns.';

REVOKE EXECUTE ON FUNCTION app.columns_hidden_from_planner() FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE app.hide_values_from_planner(text) FROM PUBLIC;

-- The statistics of 0010 corrected estimates that multiply such samples; without samples they are not made. Lists whose rows the
-- planner expects too few of are told to be read in order (steady plans, statements.py).
DO $statistics$
DECLARE
    kept record;
BEGIN
    FOR kept IN
        SELECT statistics.stxname AS statistics_name
        FROM pg_catalog.pg_statistic_ext AS statistics
        WHERE statistics.stxnamespace = 'public'::regnamespace AND statistics.stxname LIKE '%\_belonging'
    LOOP
        EXECUTE format('DROP STATISTICS public.%I', kept.statistics_name);
    END LOOP;
END
$statistics$;

CREATE OR REPLACE PROCEDURE app.create_partition(table_name text, partition_name text, bounds text)
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    IF pg_catalog.to_regclass(pg_catalog.format('public.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.format('CREATE TABLE public.%I PARTITION OF public.%I %s', partition_name, table_name, bounds);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition_name);
    EXECUTE pg_catalog.format(
        'CREATE POLICY own_tenant ON public.%I FOR ALL TO pm_app
             USING (tenant_id = (SELECT app.current_tenant_id()))
             WITH CHECK (tenant_id = (SELECT app.current_tenant_id()))',
        partition_name
    );
    CALL app.hide_values_from_planner(partition_name);
END
$body$;

-- Only this database's own maintenance called it.
-- squawk-ignore ban-drop-function
DROP PROCEDURE app.tell_planner_of_tenants(text, text);

CALL app.hide_values_from_planner();

-- What was sampled before stays until it is removed. PostgreSQL 18 lets the owner do that.
CREATE FUNCTION app.forget_samples(which_table text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = ''
AS $body$
DECLARE
    hidden record;
BEGIN
    IF pg_catalog.current_setting('server_version_num')::integer < 180000 THEN
        RETURN;
    END IF;
    FOR hidden IN
        SELECT columns.table_name, columns.column_name
        FROM app.columns_hidden_from_planner() AS columns
        WHERE columns.table_name = coalesce(which_table, columns.table_name)
    LOOP
        PERFORM pg_catalog.pg_clear_attribute_stats('public', hidden.table_name, hidden.column_name, false);
        PERFORM pg_catalog.pg_clear_attribute_stats('public', hidden.table_name, hidden.column_name, true);
    END LOOP;
END
$body$;

COMMENT ON FUNCTION app.forget_samples(text) IS
    'Removes what ANALYZE had sampled of hidden columns of a table, or of all. From PostgreSQL 18 on; does nothing before. For migrations.';

REVOKE EXECUTE ON FUNCTION app.forget_samples(text) FROM PUBLIC;

SELECT app.forget_samples();

-- An index across tenants counts for EXPLAIN ANALYZE what it finds of others. This one, which no statement uses, told when they
-- send. Campaigns are few, so the lock is short.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX campaigns_due_index;

-- The sign-in address is unique on the platform, so changing one's own asks whether another's is there. It is changed by the
-- service that users sign in with.
REVOKE UPDATE ON users FROM pm_app;
GRANT UPDATE (updated, deleted, name, family_name, given_name, picture, email_verified) ON users TO pm_app;

GRANT CREATE ON SCHEMA app TO pm_reader;

SET LOCAL ROLE pm_reader;

-- A tenant may write any Stripe id into its own subscription: one that two tenants claim must not lead to either.
CREATE OR REPLACE FUNCTION app.tenant_of_subscription(stripe_id text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT (array_agg(DISTINCT subscriptions.tenant_id))[1]
    FROM public.subscriptions
    WHERE subscriptions.stripe_subscription_id = stripe_id
    HAVING count(DISTINCT subscriptions.tenant_id) = 1
$body$;

COMMENT ON FUNCTION app.tenant_of_subscription(text) IS
    'Tenant of a subscription that Stripe names: a webhook knows no tenant. It then opens a session of that tenant. None when two claim it.';

SET LOCAL ROLE pm_owner;

REVOKE CREATE ON SCHEMA app FROM pm_reader;

-- A session says at its start whose it is; a tenant that there is not is refused before anything is written.
CREATE FUNCTION app.expect_tenant() RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = ''
AS $body$
BEGIN
    IF NOT EXISTS (SELECT FROM public.tenants WHERE id = app.current_tenant_id()) THEN
        RAISE no_data_found USING MESSAGE = 'app.current_tenant_id names no tenant';
    END IF;
    RETURN true;
END
$body$;

COMMENT ON FUNCTION app.expect_tenant() IS 'True when the tenant of this transaction exists; an error otherwise.';

REVOKE EXECUTE ON FUNCTION app.expect_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.expect_tenant() TO pm_app;

-- An address is one: something, one @, a domain, no blanks. What mail itself says (email_messages) is kept as it is. Rows that
-- are there already are looked at after this transaction (schema.py).
ALTER TABLE users ADD CONSTRAINT users_email_is_an_address
    CHECK (email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

ALTER TABLE tenant_users ADD CONSTRAINT tenant_users_email_is_an_address
    CHECK (email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

ALTER TABLE companies ADD CONSTRAINT companies_email_is_an_address
    CHECK (email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

ALTER TABLE email_accounts ADD CONSTRAINT email_accounts_email_is_an_address
    CHECK (email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

ALTER TABLE leads ADD CONSTRAINT leads_email_is_an_address
    CHECK (email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

ALTER TABLE tenant_config ADD CONSTRAINT tenant_config_billing_email_is_an_address
    CHECK (billing_email ~ '^[^[:space:]]+@[^[:space:]@]+$') NOT VALID;

RESET ROLE;
