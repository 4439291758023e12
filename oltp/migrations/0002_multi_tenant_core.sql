-- Users, tenants and memberships. Nile creates and owns them in production: they are made only where they are missing. Those that
-- are there get what isolation and the tables below need, and keep their rows: the owner, keys and rules.

DO $taken_over$
DECLARE
    there text;
BEGIN
    FOR there IN
        SELECT tables.relname
        FROM pg_catalog.pg_class AS tables
        WHERE tables.relnamespace = 'public'::regnamespace
          AND tables.relname IN ('users', 'tenants', 'tenant_users')
          AND tables.relowner <> 'pm_owner'::regrole
    LOOP
        EXECUTE format('ALTER TABLE public.%I OWNER TO pm_owner', there);
    END LOOP;
END
$taken_over$;

SET LOCAL ROLE pm_owner;

CREATE TABLE IF NOT EXISTS users (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    deleted timestamptz,
    name text,
    family_name text,
    given_name text,
    email text,
    picture text,
    email_verified timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT users_email_is_lower_case CHECK (email = lower(email))
);

CREATE UNIQUE INDEX IF NOT EXISTS users_email_unique ON users (email) WHERE deleted IS NULL;

CREATE INDEX IF NOT EXISTS users_created_index ON users (created);

CREATE TABLE IF NOT EXISTS tenants (
    id uuid NOT NULL DEFAULT app.uuidv7(),
    name text,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    deleted timestamptz,
    compute_id uuid,
    PRIMARY KEY (id)
);

CREATE INDEX IF NOT EXISTS tenants_created_index ON tenants (created);

CREATE TABLE IF NOT EXISTS tenant_users (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    deleted timestamptz,
    roles text[] NOT NULL DEFAULT '{}',
    email text,
    PRIMARY KEY (tenant_id, user_id),
    CONSTRAINT tenant_users_roles_are_known CHECK (roles <@ ARRAY['owner', 'admin', 'member', 'readonly']),
    CONSTRAINT tenant_users_email_is_lower_case CHECK (email = lower(email))
);

DO $completed$
DECLARE
    missing record;
BEGIN
    ALTER TABLE public.tenant_users ALTER COLUMN tenant_id SET DEFAULT app.current_tenant_id();
    UPDATE public.tenant_users SET roles = '{}' WHERE roles IS NULL;
    ALTER TABLE public.tenant_users ALTER COLUMN roles SET DEFAULT '{}', ALTER COLUMN roles SET NOT NULL;
    FOR missing IN
        SELECT *
        FROM (VALUES
            ('tenant_users', 'tenant_users_tenant_id_fkey', 'FOREIGN KEY (tenant_id) REFERENCES public.tenants ON DELETE CASCADE'),
            ('tenant_users', 'tenant_users_user_id_fkey', 'FOREIGN KEY (user_id) REFERENCES public.users ON DELETE CASCADE'),
            ('tenant_users', 'tenant_users_roles_are_known',
                $$CHECK (roles <@ ARRAY['owner', 'admin', 'member', 'readonly'])$$),
            ('tenant_users', 'tenant_users_email_is_lower_case', 'CHECK (email = lower(email))'),
            ('users', 'users_email_is_lower_case', 'CHECK (email = lower(email))')
        ) AS rules (table_name, rule_name, definition)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conname = rules.rule_name)
    LOOP
        EXECUTE format(
            'ALTER TABLE public.%I ADD CONSTRAINT %I %s NOT VALID', missing.table_name, missing.rule_name, missing.definition
        );
    END LOOP;
END
$completed$;

-- "My tenants", asked before a tenant is chosen.
CREATE INDEX IF NOT EXISTS tenant_users_user_index ON tenant_users (user_id, tenant_id);

CALL app.isolate_by_tenant('tenants', 'id');
CALL app.isolate_by_tenant('tenant_users');

-- Tenants are made by app.create_tenant() and closed by the platform, never by a plain statement of the application.
REVOKE INSERT, DELETE ON tenants FROM pm_app;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;

CREATE POLICY own_user ON users FOR ALL TO pm_app
    USING (id = (SELECT app.current_user_id()))
    WITH CHECK (id = (SELECT app.current_user_id()));

GRANT SELECT, UPDATE ON users TO pm_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO pm_loader;
GRANT SELECT ON users TO pm_reader, pm_staff;

-- Before a tenant is chosen there is only a user: the two functions below are the whole of that path. They run as roles
-- that bypass row level security, so each names the user of the transaction in its own predicate.
CREATE FUNCTION app.my_tenants()
    RETURNS TABLE (id uuid, name text, created timestamptz, updated timestamptz, roles text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $body$
    SELECT tenants.id, tenants.name, tenants.created, tenants.updated, memberships.roles
    FROM public.tenant_users AS memberships
    JOIN public.tenants AS tenants ON tenants.id = memberships.tenant_id
    WHERE memberships.user_id = (SELECT app.current_user_id())
      AND memberships.deleted IS NULL
      AND tenants.deleted IS NULL
    ORDER BY tenants.name, tenants.id
$body$;

COMMENT ON FUNCTION app.my_tenants() IS 'Live tenants of the user of this transaction, by name; no rows without a user.';

CREATE FUNCTION app.create_tenant(tenant_name text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = ''
AS $body$
DECLARE
    founder uuid := app.current_user_id();
    new_tenant uuid;
BEGIN
    IF founder IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'a tenant is made by a user: app.current_user_id is not set';
    END IF;
    INSERT INTO public.tenants (name) VALUES (tenant_name) RETURNING id INTO new_tenant;
    INSERT INTO public.tenant_users (tenant_id, user_id, roles) VALUES (new_tenant, founder, ARRAY['owner']);
    RETURN new_tenant;
END
$body$;

COMMENT ON FUNCTION app.create_tenant(text) IS 'Makes a tenant whose owner is the user of this transaction; returns its id.';

GRANT CREATE ON SCHEMA app TO pm_reader, pm_loader;
RESET ROLE;
ALTER FUNCTION app.my_tenants() OWNER TO pm_reader;
ALTER FUNCTION app.create_tenant(text) OWNER TO pm_loader;
SET LOCAL ROLE pm_reader;
REVOKE EXECUTE ON FUNCTION app.my_tenants() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.my_tenants() TO pm_app;
SET LOCAL ROLE pm_loader;
REVOKE EXECUTE ON FUNCTION app.create_tenant(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.create_tenant(text) TO pm_app;
SET LOCAL ROLE pm_owner;
REVOKE CREATE ON SCHEMA app FROM pm_reader, pm_loader;

RESET ROLE;
