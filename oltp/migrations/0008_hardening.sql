-- The two functions that run with other rights than their caller's search temporary schemas last.

SET LOCAL ROLE pm_reader;

ALTER FUNCTION app.my_tenants() SET search_path = pg_catalog, pg_temp;

SET LOCAL ROLE pm_loader;

ALTER FUNCTION app.create_tenant(text) SET search_path = pg_catalog, pg_temp;

RESET ROLE;

-- Functions and tables of a session's own are tools for looking past a policy; the application needs neither.
DO $temporary$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$temporary$;
