-- Whether contexts are believed without a proof, and the keys that prove them (migrations/0017).

-- name: one_at_a_time
-- Released at the end of the transaction. Sessions go on reading keys.
LOCK TABLE app.context_keys IN SHARE ROW EXCLUSIVE MODE;

-- name: state
-- Open, none of three functions asks for a proof; sealed, all do.
SELECT
    pg_get_function_sqlbody('app.context_is_proven()'::regprocedure) AS verdict,
    count(*) FILTER (
        WHERE coalesce(nullif(prosrc, ''), pg_get_function_sqlbody(oid)) LIKE '%app.seal_is_valid()%'
    ) AS functions_that_ask
FROM pg_catalog.pg_proc
WHERE oid IN (
    'app.context_is_proven()'::regprocedure,
    'app.current_tenant_id()'::regprocedure,
    'app.current_user_id()'::regprocedure
);

-- name: seal_context_is_proven
CREATE OR REPLACE FUNCTION app.context_is_proven() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN app.seal_is_valid();

-- name: seal_current_tenant_id
-- In plpgsql: inlining would cost more for statements that are planned each time. Every name is spelt out, so that no search_path
-- changes what it means.
CREATE OR REPLACE FUNCTION app.current_tenant_id() RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $body$
BEGIN
    RETURN CASE
        WHEN app.seal_is_valid() AND pg_catalog.current_setting('app.current_tenant_id', true) OPERATOR(pg_catalog.<>) ''
        THEN pg_catalog.current_setting('app.current_tenant_id', true)::pg_catalog.uuid
    END;
END
$body$;

-- name: seal_current_user_id
CREATE OR REPLACE FUNCTION app.current_user_id() RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $body$
BEGIN
    RETURN CASE
        WHEN app.seal_is_valid() AND pg_catalog.current_setting('app.current_user_id', true) OPERATOR(pg_catalog.<>) ''
        THEN pg_catalog.current_setting('app.current_user_id', true)::pg_catalog.uuid
    END;
END
$body$;

-- name: open_context_is_proven
-- As migrations/0017 made them.
CREATE OR REPLACE FUNCTION app.context_is_proven() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN true;

-- name: open_current_tenant_id
CREATE OR REPLACE FUNCTION app.current_tenant_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(pg_catalog.current_setting('app.current_tenant_id', true), '')::uuid;

-- name: open_current_user_id
CREATE OR REPLACE FUNCTION app.current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(pg_catalog.current_setting('app.current_user_id', true), '')::uuid;

-- name: keys
-- Accepted keys, the present one first; never the secrets.
SELECT key_id, created, accepted_until
FROM app.context_keys
WHERE coalesce(accepted_until > now(), true)
ORDER BY accepted_until DESC NULLS FIRST;

-- name: install_key
-- COPY and no INSERT: its data reach no log and no view of running statements, whatever the server is set to write down.
COPY app.context_keys (key_id, inner_block, outer_block) FROM STDIN;

-- name: accept_again
-- A key that was on its way out and is the present one again.
UPDATE app.context_keys
SET accepted_until = NULL
WHERE key_id = %(key_id)s
RETURNING key_id;

-- name: let_others_end
-- Never later than they would have ended anyhow.
UPDATE app.context_keys
SET accepted_until = least(accepted_until, now() + make_interval(secs => %(keep_seconds)s))
WHERE key_id <> %(key_id)s;

-- name: forget_ended
DELETE FROM app.context_keys
WHERE accepted_until <= now();

-- name: note_change
INSERT INTO app.context_changes (action, key_id, actor, reason)
VALUES (%(action)s, %(key_id)s, %(actor)s, %(reason)s);

-- name: changes
SELECT changed, action, key_id, actor, reason
FROM app.context_changes
ORDER BY id DESC
LIMIT 20;

-- name: older_transactions
-- Whoever holds a lock on a table may be carrying out a plan of before; whoever takes one later plans anew.
SELECT DISTINCT locks.virtualtransaction AS transaction, locks.pid
FROM pg_catalog.pg_locks AS locks
JOIN pg_catalog.pg_class AS tables ON tables.oid = locks.relation
WHERE locks.locktype = 'relation'
  AND locks.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND tables.relnamespace = 'public'::regnamespace
  AND locks.pid <> pg_backend_pid();

-- name: is_believed
-- As a session of the application, until the end of the transaction.
SELECT
    set_config('app.current_tenant_id', '', true),
    set_config('app.current_user_id', '', true),
    set_config('app.context_seal', %(seal)s, true),
    app.context_is_proven() AS is_believed;
