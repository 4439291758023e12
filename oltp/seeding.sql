-- What seeding asks.

-- name: lock
-- Two seedings take turns, tenant by tenant.
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.seeding', 0));

-- name: plan_exists
SELECT true FROM plans WHERE id = %(id)s;

-- name: tenants_there
SELECT id FROM tenants WHERE id = ANY (%(ids)s);
