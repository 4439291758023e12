-- Roles, the two schemas, and the functions that policies, defaults and partitions use.
-- Roles belong to the whole server, so two databases may make them at the same moment: whoever comes second goes on.

DO $roles$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT *
        FROM (VALUES
            ('pm_owner',    'NOBYPASSRLS'),  -- owns every object; row level security is forced on it too
            ('pm_app',      'NOBYPASSRLS'),  -- the application: one tenant at a time
            ('pm_platform', 'NOBYPASSRLS'),  -- plans, servers, flags, settings
            ('pm_loader',   'BYPASSRLS'),    -- pipelines that write: COPY is refused under row level security
            ('pm_reader',   'BYPASSRLS'),    -- pipelines that read across tenants
            ('pm_staff',    'BYPASSRLS')     -- back office: reads across tenants, audited
        ) AS role (name, attribute)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN %s', wanted.name, wanted.attribute);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$roles$;

DO $memberships$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['pm_owner', 'pm_app', 'pm_platform', 'pm_loader', 'pm_reader', 'pm_staff'] LOOP
        FOR attempt IN 1..5 LOOP
            EXIT WHEN EXISTS (
                SELECT
                FROM pg_catalog.pg_auth_members AS membership
                WHERE membership.roleid = role_name::regrole
                  AND membership.member = current_user::regrole
                  AND (current_setting('server_version_num')::integer < 160000
                       OR (to_jsonb(membership) ->> 'set_option')::boolean)
            );
            BEGIN
                EXECUTE format('GRANT %I TO %I', role_name, current_user);
            EXCEPTION WHEN unique_violation OR internal_error THEN
                PERFORM pg_sleep(0.1 * attempt);  -- another database granted the same at this moment
            END;
        END LOOP;
    END LOOP;
END
$memberships$;

DO $database$
BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO pm_owner', current_database());
END
$database$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO pm_owner;
GRANT USAGE ON SCHEMA public TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;

SET LOCAL ROLE pm_owner;

CREATE SCHEMA app;

COMMENT ON SCHEMA app IS 'Functions of tenancy and partition maintenance.';

GRANT USAGE ON SCHEMA app TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;

ALTER DEFAULT PRIVILEGES FOR ROLE pm_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Always written `(SELECT app.current_tenant_id())` in policies: then it is evaluated once a statement, not once a row.
CREATE FUNCTION app.current_tenant_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    RETURN nullif(pg_catalog.current_setting('app.current_tenant_id', true), '')::uuid;

COMMENT ON FUNCTION app.current_tenant_id() IS
    'Tenant of this transaction (setting app.current_tenant_id); null when none is set, so that policies match no row.';

CREATE FUNCTION app.current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    RETURN nullif(pg_catalog.current_setting('app.current_user_id', true), '')::uuid;

COMMENT ON FUNCTION app.current_user_id() IS
    'User of this transaction (setting app.current_user_id); null when none is set, so that policies match no row.';

GRANT EXECUTE ON FUNCTION app.current_tenant_id(), app.current_user_id()
    TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;

-- The smallest uuid of version 7 layout at a time: partition bounds, and date bounds for queries that have ids only.
CREATE FUNCTION app.uuidv7_lower_bound(at timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    RETURN rpad(lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

COMMENT ON FUNCTION app.uuidv7_lower_bound(timestamptz) IS
    'Smallest uuid whose first 48 bits hold the given time in milliseconds: every version 7 id made then or later is at least this.';

-- PostgreSQL 18 has uuidv7(); before it the layout of RFC 9562 is laid over a random uuid.
DO $uuidv7$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        CREATE FUNCTION app.uuidv7() RETURNS uuid
            LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN pg_catalog.uuidv7();
    ELSE
        CREATE FUNCTION app.uuidv7() RETURNS uuid
            LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN encode(
                set_byte(
                    overlay(
                        uuid_send(gen_random_uuid())
                        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6
                    ),
                    6,
                    (get_byte(uuid_send(gen_random_uuid()), 6) & 15) | 112
                ),
                'hex'
            )::uuid;
    END IF;
END
$uuidv7$;

COMMENT ON FUNCTION app.uuidv7() IS 'A new version 7 uuid: ordered by time, so that inserts stay at the right edge of an index.';

GRANT EXECUTE ON FUNCTION app.uuidv7(), app.uuidv7_lower_bound(timestamptz)
    TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;

-- What every table of a tenant gets: forced row level security, one policy, the same grants.
CREATE PROCEDURE app.isolate_by_tenant(table_name text, tenant_column text DEFAULT 'tenant_id')
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    EXECUTE pg_catalog.format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', table_name);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', table_name);
    EXECUTE pg_catalog.format(
        'CREATE POLICY own_tenant ON public.%1$I FOR ALL TO pm_app
             USING (%2$I = (SELECT app.current_tenant_id()))
             WITH CHECK (%2$I = (SELECT app.current_tenant_id()))',
        table_name, tenant_column
    );
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO pm_app', table_name);
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO pm_loader', table_name);
    EXECUTE pg_catalog.format('GRANT SELECT ON public.%I TO pm_reader, pm_staff', table_name);
END
$body$;

COMMENT ON PROCEDURE app.isolate_by_tenant(text, text) IS
    'Gives a table of a tenant its forced row level security, its policy and its grants. For migrations.';

-- Platform tables hold no tenant's rows: a known platform user may read and write them, the application nothing unless granted.
CREATE PROCEDURE app.keep_for_platform(table_name text, key_column text)
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    EXECUTE pg_catalog.format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', table_name);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', table_name);
    EXECUTE pg_catalog.format(
        'CREATE POLICY platform_user ON public.%1$I FOR ALL TO pm_platform
             USING ((SELECT app.current_user_id()) IS NOT NULL AND %2$I IS NOT NULL)
             WITH CHECK ((SELECT app.current_user_id()) IS NOT NULL AND %2$I IS NOT NULL)',
        table_name, key_column
    );
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO pm_platform', table_name);
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO pm_loader', table_name);
    EXECUTE pg_catalog.format('GRANT SELECT ON public.%I TO pm_staff', table_name);
END
$body$;

COMMENT ON PROCEDURE app.keep_for_platform(text, text) IS
    'Gives a platform table its forced row level security, its policy and its grants. For migrations.';

REVOKE EXECUTE ON PROCEDURE app.isolate_by_tenant(text, text), app.keep_for_platform(text, text) FROM PUBLIC;

RESET ROLE;
