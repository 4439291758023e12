-- What seeding asks.

-- name: lock
-- Two seedings take turns, tenant by tenant.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.seeding', 0));

-- name: plan_exists
SELECT true FROM plans WHERE id = %(id)s;

-- name: tenant_exists
SELECT true FROM tenants WHERE id = %(id)s;
