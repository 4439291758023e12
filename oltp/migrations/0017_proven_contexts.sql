-- Reading the context is part of every statement, so it has to be cheap; and whoever holds the application's login may set the
-- context, so a database can be told to believe it only with a proof (`penguinmails oltp contexts`, docs/oltp.md).
--
-- Cheap: a search_path of its own keeps a function from being inlined; each call set and reset it and started an executor. A
-- body in SQL-standard form is parsed when it is made: no search_path can change its meaning. Measured, a point read whose plan
-- is kept took 45.8 microseconds without policies, 48.8 so, and 50.4 with the function in plpgsql.

SET LOCAL ROLE pm_owner;

-- Secrets of those who may open a context, as the two blocks of HMAC (RFC 2104): the key padded to 64 bytes, xor 0x36 and
-- xor 0x5c. sha256() of PostgreSQL itself then suffices. Nobody but the owner has a right here.
CREATE TABLE app.context_keys (
    key_id text PRIMARY KEY,
    inner_block bytea NOT NULL,
    outer_block bytea NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    accepted_until timestamptz,
    CONSTRAINT context_keys_key_id_is_a_digest CHECK (key_id ~ '^[0-9a-f]{16}$'),
    CONSTRAINT context_keys_blocks_are_whole CHECK (length(inner_block) = 64 AND length(outer_block) = 64)
);

COMMENT ON TABLE app.context_keys IS
    'Keys that sign contexts, as blocks of HMAC-SHA-256. accepted_until is null for the present one. Secret.';

CREATE TABLE app.context_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed timestamptz NOT NULL DEFAULT now(),
    action text NOT NULL,
    key_id text,
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT context_changes_action_is_known CHECK (action IN ('seal', 'rotate', 'open'))
);

COMMENT ON TABLE app.context_changes IS 'Who sealed or opened the contexts or changed their key, when and why.';

-- Presented by a session: `1.KEY_ID.EXPIRY.MAC`, expiry in seconds since 1970 (10 digits), MAC the HMAC-SHA-256 in hex of
-- `penguinmails:1:TENANT:USER:EXPIRY`, where an absent tenant or user is empty. No colon may stand in a tenant or user, so one
-- text has one reading. The whole seal is made anew and compared as digests, so that nothing malformed passes and the time
-- that it takes tells nothing. Secrets stay in the one row that is read: a variable or parameter that held one could be seen
-- by a session that has plans printed (debug_print_plan). No literal holds a backslash: the caller chooses how they are read.
-- A key and a seal hold for transactions that began before they end.
CREATE FUNCTION app.seal_is_valid() RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    seal text := coalesce(current_setting('app.context_seal', true), '');
    expiry text := substr(seal, 20, 10);
    owners text := coalesce(current_setting('app.current_tenant_id', true), '') || ':'
        || coalesce(current_setting('app.current_user_id', true), '');
    is_valid boolean;
BEGIN
    IF length(seal) <> 94 OR length(replace(owners, ':', '')) <> length(owners) - 1 THEN
        RETURN false;
    END IF;
    SELECT sha256(convert_to(seal, 'UTF8')) = sha256(convert_to(
            '1.' || keys.key_id || '.' || expiry || '.' || encode(
                sha256(keys.outer_block || sha256(
                    keys.inner_block || convert_to('penguinmails:1:' || owners || ':' || expiry, 'UTF8')
                )),
                'hex'
            ),
            'UTF8'
        ))
    INTO is_valid
    FROM app.context_keys AS keys
    WHERE keys.key_id = substr(seal, 3, 16)
      AND coalesce(keys.accepted_until > now(), true)
      AND expiry COLLATE "C" > floor(extract(epoch FROM now()))::bigint::text COLLATE "C";
    RETURN coalesce(is_valid, false);
END
$body$;

COMMENT ON FUNCTION app.seal_is_valid() IS
    'Whether app.context_seal proves tenant and user of this transaction: with an accepted key, not expired. Never an error.';

-- The state of the database is in three functions: this one and the two that read the context. As they are made here it is open.
-- Only `penguinmails oltp contexts` changes it (contexts.sql), and no later migration. Plans that hold them inlined are then made
-- anew.
CREATE FUNCTION app.context_is_proven() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN true;

COMMENT ON FUNCTION app.context_is_proven() IS
    'Whether tenant and user of this transaction are believed: always (open), or with a valid seal only (sealed).';

CREATE OR REPLACE FUNCTION app.current_tenant_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(pg_catalog.current_setting('app.current_tenant_id', true), '')::uuid;

CREATE OR REPLACE FUNCTION app.current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(pg_catalog.current_setting('app.current_user_id', true), '')::uuid;

COMMENT ON FUNCTION app.current_tenant_id() IS
    'Tenant of this transaction (setting app.current_tenant_id); null when none is set, or none proven: policies match no row.';

COMMENT ON FUNCTION app.current_user_id() IS
    'User of this transaction (setting app.current_user_id); null when none is set, or none proven: policies match no row.';

-- Defaults of rows are no judgement: the policy of the row is, once a statement. A proof for each row would be paid for nothing.
CREATE FUNCTION app.named_tenant_id() RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $body$
BEGIN
    RETURN CASE
        WHEN pg_catalog.current_setting('app.current_tenant_id', true) OPERATOR(pg_catalog.<>) ''
        THEN pg_catalog.current_setting('app.current_tenant_id', true)::pg_catalog.uuid
    END;
END
$body$;

COMMENT ON FUNCTION app.named_tenant_id() IS
    'Tenant that the session names, proven or not. For defaults of columns only: never compare a row with it.';

DO $defaults$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT tables.relname AS table_name, columns.attname AS column_name
        FROM pg_catalog.pg_attrdef AS defaults
        JOIN pg_catalog.pg_class AS tables ON tables.oid = defaults.adrelid
        JOIN pg_catalog.pg_attribute AS columns ON columns.attrelid = tables.oid AND columns.attnum = defaults.adnum
        WHERE tables.relnamespace = 'public'::regnamespace
          AND NOT tables.relispartition
          AND pg_catalog.pg_get_expr(defaults.adbin, defaults.adrelid) = 'app.current_tenant_id()'
        ORDER BY tables.relname
    LOOP
        EXECUTE format(
            'ALTER TABLE %I ALTER COLUMN %I SET DEFAULT app.named_tenant_id()', found.table_name, found.column_name
        );
    END LOOP;
END
$defaults$;

-- Policies show a session without proof no rows. A program wants to be told.
CREATE FUNCTION app.expect_proof() RETURNS boolean
    LANGUAGE plpgsql STABLE
AS $body$
BEGIN
    IF NOT app.context_is_proven() THEN
        RAISE invalid_authorization_specification USING MESSAGE = 'app.context_seal does not prove this context';
    END IF;
    RETURN true;
END
$body$;

COMMENT ON FUNCTION app.expect_proof() IS 'True when the context of this transaction is proven; an error otherwise.';

REVOKE EXECUTE ON FUNCTION
    app.seal_is_valid(), app.context_is_proven(), app.named_tenant_id(), app.expect_proof()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.seal_is_valid(), app.context_is_proven(), app.named_tenant_id()
    TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;
GRANT EXECUTE ON FUNCTION app.expect_proof() TO pm_app, pm_platform;

RESET ROLE;
