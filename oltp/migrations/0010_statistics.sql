-- A campaign, a lead and a mailbox belong to one tenant. Without knowing it the planner multiplies the chances of tenant and
-- campaign, expects a few rows where there are thousands, and reads and sorts all of them to show 50: measured on 60 tenants,
-- 781 pages against 41. Statistics of a partitioned table are those of its partitions, so each gets its own.

SET LOCAL ROLE pm_owner;

CREATE PROCEDURE app.tell_planner_of_tenants(table_name text, partition_name text)
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    IF table_name IN ('email_messages', 'email_events') THEN
        EXECUTE pg_catalog.format(
            'CREATE STATISTICS IF NOT EXISTS public.%I (dependencies)
                 ON tenant_id, email_account_id, campaign_id, lead_id FROM public.%I',
            partition_name || '_belonging', partition_name
        );
    END IF;
END
$body$;

COMMENT ON PROCEDURE app.tell_planner_of_tenants(text, text) IS
    'Lets ANALYZE learn for one partition that mailboxes, campaigns and leads belong to one tenant. For migrations and months.';

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
    CALL app.tell_planner_of_tenants(table_name, partition_name);
END
$body$;

REVOKE EXECUTE ON PROCEDURE app.tell_planner_of_tenants(text, text) FROM PUBLIC;

DO $partitions_that_are_there$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT tables.relname AS table_name, partitions.relname AS partition_name
        FROM pg_catalog.pg_inherits AS links
        JOIN pg_catalog.pg_class AS partitions ON partitions.oid = links.inhrelid
        JOIN pg_catalog.pg_class AS tables ON tables.oid = links.inhparent
        WHERE tables.relkind = 'p' AND tables.relnamespace = 'public'::regnamespace
        ORDER BY partitions.relname
    LOOP
        CALL app.tell_planner_of_tenants(part.table_name, part.partition_name);
    END LOOP;
END
$partitions_that_are_there$;

RESET ROLE;
