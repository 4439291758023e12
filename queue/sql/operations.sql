-- What people do to jobs. Every change is one transaction with its audit row, bounded, and raises the fence.

-- name: matching_jobs
-- Jobs that fit a filter, the oldest first.
SELECT
    id, queue_name, status, priority, attempt_count, max_attempts, run_at, started, created, updated, tenant_id,
    last_error_message
FROM jobs
WHERE (%(ids)s::uuid [] IS NULL OR id = ANY(%(ids)s::uuid []))
    AND (%(queue_name)s::varchar IS NULL OR queue_name = %(queue_name)s)
    AND (%(statuses)s::varchar [] IS NULL OR status = ANY(%(statuses)s::varchar []))
    AND (%(tenant_id)s::uuid IS NULL OR tenant_id = %(tenant_id)s)
    AND (%(payload)s::jsonb IS NULL OR payload @> %(payload)s::jsonb)
    AND (%(error)s::text IS NULL OR position(%(error)s::text IN coalesce(last_error_message, '')) > 0)
    AND (NOT %(only_later)s OR run_at > now())
    AND (%(created_before)s::timestamptz IS NULL OR created < %(created_before)s)
    AND (%(created_after)s::timestamptz IS NULL OR created >= %(created_after)s)
ORDER BY created, id
LIMIT %(most)s;

-- name: allow_replay
-- Lets this transaction take jobs out of a final state.
SET LOCAL penguinmails.queue_replay = 'on';

-- name: replay
-- Dead letters start over, some apart. One whose key a live job has meanwhile stays dead.
WITH chosen AS MATERIALIZED (
    SELECT id, queue_name, dedupe_key, created
    FROM jobs
    WHERE id = ANY(%(ids)s::uuid []) AND status = 'failed'
    ORDER BY created, id
    FOR UPDATE SKIP LOCKED
),

admitted AS (
    SELECT id, row_number() OVER (ORDER BY created, id) - 1 AS position
    FROM (
        SELECT
            chosen.*,
            row_number() OVER (PARTITION BY queue_name, coalesce(dedupe_key, id::text) ORDER BY created, id) AS nth_of_its_key
        FROM chosen
    ) AS numbered
    WHERE nth_of_its_key = 1
        AND NOT EXISTS (
            SELECT FROM jobs AS live
            WHERE live.queue_name = numbered.queue_name
                AND live.dedupe_key = numbered.dedupe_key
                AND live.status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running')
        )
)

UPDATE jobs
SET status = 'queued',
    gen = jobs.gen + 1,
    attempt_count = 0,
    crash_count = 0,
    failed = NULL,
    run_at = now() + make_interval(secs => admitted.position * %(stagger_seconds)s),
    due = admitted.position * %(stagger_seconds)s <= 0,
    updated = now()
FROM admitted
WHERE jobs.id = admitted.id
RETURNING jobs.id;

-- name: retry_now
-- Jobs that wait for their next attempt, or for their time, need wait no more.
UPDATE jobs
SET run_at = now(), due = true, gen = jobs.gen + 1, updated = now()
WHERE id = ANY(%(ids)s::uuid []) AND status IN ('queued', 'retry_scheduled') AND run_at > now()
RETURNING id;

-- name: cancel
-- Takes jobs out for good, wherever they are. One that runs has lost its owner: its handler is ended, its result refused.
UPDATE jobs
SET status = 'cancelled', gen = jobs.gen + 1, worker_id = NULL, lease_expires = NULL, updated = now()
WHERE id = ANY(%(ids)s::uuid []) AND status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running')
RETURNING id;

-- name: set_active
-- Pauses or resumes a queue.
UPDATE job_queues SET is_active = %(is_active)s WHERE name = %(queue_name)s AND is_active <> %(is_active)s RETURNING name;

-- name: take_back_hand_offs
-- What a paused queue has in Redis waits in PostgreSQL again; the messages are stale.
UPDATE jobs
SET status = 'queued', gen = jobs.gen + 1, lease_expires = NULL, due = true, updated = now()
WHERE queue_name = %(queue_name)s AND status = 'migrated_to_redis'
RETURNING id;

-- name: audit
-- Who did what to which jobs, and why.
INSERT INTO queue_audit (actor, action, job_filter, reason, jobs_changed)
VALUES (%(actor)s, %(action)s, %(job_filter)s::jsonb, %(reason)s, %(jobs_changed)s);

-- name: audited
-- The newest changes.
SELECT created, actor, action, job_filter, reason, jobs_changed FROM queue_audit ORDER BY id DESC LIMIT %(most)s;

-- name: queue_exists
-- Whether there is such a queue.
SELECT is_active FROM job_queues WHERE name = %(queue_name)s;

-- name: job
-- All of one job.
SELECT * FROM jobs WHERE id = %(id)s;

-- name: logs_of_job
-- The attempts of one job.
SELECT status, attempt_number, gen, started, finished, extract(epoch FROM duration)::double precision AS seconds, log_message
FROM job_logs
WHERE job_id = %(id)s
ORDER BY id;

-- name: why
-- What decides whether a job can run now.
SELECT
    jobs.id,
    jobs.gen,
    jobs.queue_name,
    jobs.status,
    jobs.priority,
    jobs.attempt_count,
    jobs.max_attempts,
    jobs.run_at,
    jobs.worker_id,
    jobs.last_error_message,
    jobs.progress,
    jobs.progress_note,
    extract(epoch FROM jobs.run_at - now())::double precision AS seconds_to_run_at,
    extract(epoch FROM jobs.lease_expires - now())::double precision AS lease_seconds,
    extract(epoch FROM now() - jobs.started)::double precision AS running_seconds,
    extract(epoch FROM now() - jobs.updated)::double precision AS seconds_since_update,
    job_queues.is_active,
    job_queues.timeout_seconds,
    queue_limits.jobs_per_second,
    least(
        queue_limits.burst,
        queue_limits.tokens + queue_limits.jobs_per_second * extract(epoch FROM now() - queue_limits.refilled)
    )::double precision AS tokens,
    (SELECT count(*) FROM workers WHERE kind = 'relay' AND NOT dead AND lease_expires > now()) AS relays,
    (SELECT count(*) FROM workers WHERE kind = 'reaper' AND NOT dead AND lease_expires > now()) AS reapers,
    (
        SELECT count(*)
        FROM workers
        WHERE kind = 'worker' AND NOT dead AND lease_expires > now() AND jobs.queue_name = ANY(queue_names)
    ) AS workers,
    (
        SELECT coalesce(sum(slots - busy), 0)
        FROM workers
        WHERE kind = 'worker' AND NOT dead AND lease_expires > now() AND jobs.queue_name = ANY(queue_names)
    ) AS free_slots,
    (
        SELECT coalesce(array_agg(workers.id), '{}') FROM workers WHERE kind = 'worker' AND NOT dead
    ) AS living_workers,
    EXISTS (SELECT FROM workers WHERE workers.id = jobs.worker_id AND NOT dead AND lease_expires > now()) AS owner_lives,
    ahead.jobs_ahead,
    ahead.of_its_tenant
FROM jobs
INNER JOIN job_queues ON job_queues.name = jobs.queue_name
LEFT JOIN queue_limits ON queue_limits.queue_name = jobs.queue_name AND queue_limits.tenant_id = jobs.tenant_id
CROSS JOIN LATERAL (
    SELECT
        count(*) AS jobs_ahead,
        count(*) FILTER (WHERE earlier.tenant_id IS NOT DISTINCT FROM jobs.tenant_id) AS of_its_tenant
    FROM jobs AS earlier
    WHERE earlier.queue_name = jobs.queue_name
        AND earlier.status IN ('queued', 'retry_scheduled')
        AND earlier.due
        AND earlier.run_at <= now()
        AND (earlier.priority, earlier.created, earlier.id) < (jobs.priority, jobs.created, jobs.id)
) AS ahead
WHERE jobs.id = %(id)s;
