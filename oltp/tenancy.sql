-- The context of a transaction.

-- name: begin
BEGIN;

-- name: commit
COMMIT;

-- name: enter_tenant
-- Until the end of the transaction: the application's role, the tenant and the user (an empty text is nobody) and the proof that
-- the application means them; an error where the database asks for one and this is none.
SELECT
    set_config('role', 'pm_app', true),
    set_config('app.current_tenant_id', %(tenant_id)s, true),
    set_config('app.current_user_id', %(user_id)s, true),
    set_config('app.context_seal', %(seal)s, true),
    app.expect_proof();

-- name: enter_unseen_tenant
-- The same, and an error when there is no such tenant.
SELECT
    set_config('role', 'pm_app', true),
    set_config('app.current_tenant_id', %(tenant_id)s, true),
    set_config('app.current_user_id', %(user_id)s, true),
    set_config('app.context_seal', %(seal)s, true),
    app.expect_proof(),
    app.expect_tenant();

-- name: steady_plans
-- Until the end of the transaction: rows are read in the order of an index instead of being sorted, and a prepared statement
-- is planned once a connection, whatever its values (plan_mode force_generic_plan).
SELECT set_config('enable_sort', 'off', true), set_config('plan_cache_mode', %(plan_mode)s, true);

-- name: usual_plans
SELECT set_config('enable_sort', 'on', true), set_config('plan_cache_mode', 'auto', true);

-- name: forget_everything
-- What a caller may have left in the session of the server, in one message. The last answer counts the statements that were
-- prepared by SQL: under a name of the driver's, the next session would run them as its own.
RESET ALL;
RESET ROLE;
CLOSE ALL;
UNLISTEN *;
SELECT pg_advisory_unlock_all();
DISCARD TEMP;
DISCARD SEQUENCES;
SELECT count(*) FROM pg_prepared_statements WHERE from_sql;
