-- The context of a transaction.

-- name: begin
BEGIN;

-- name: commit
COMMIT;

-- name: enter_tenant
-- Until the end of the transaction: the application's role, the tenant and the user. An empty text is nobody.
SELECT
    set_config('role', 'pm_app', true),
    set_config('app.current_tenant_id', %(tenant_id)s, true),
    set_config('app.current_user_id', %(user_id)s, true);

-- name: my_tenants
SELECT id, name, created, updated, roles
FROM app.my_tenants();

-- name: create_tenant
SELECT app.create_tenant(%(name)s);

-- name: forget_settings
RESET ALL;

-- name: forget_role
RESET ROLE;
