-- Rate limits.

-- name: set_limit
-- A limit begins with a full bucket; changing one keeps what is in it.
INSERT INTO queue_limits (queue_name, tenant_id, jobs_per_second, burst, tokens)
SELECT name, %(tenant_id)s, %(jobs_per_second)s, %(burst)s, %(burst)s FROM job_queues WHERE name = %(queue_name)s
ON CONFLICT (queue_name, tenant_id) DO UPDATE
SET jobs_per_second = EXCLUDED.jobs_per_second, burst = EXCLUDED.burst, tokens = least(queue_limits.tokens, EXCLUDED.burst)
RETURNING queue_name;

-- name: remove_limit
-- No limit any more.
DELETE FROM queue_limits WHERE queue_name = %(queue_name)s AND tenant_id = %(tenant_id)s;
