-- Statements of the producer.

-- name: declare_queue
-- Writes one declared queue; whether it is active is the operators' and stays.
INSERT INTO job_queues (name, default_priority, timeout_seconds, max_attempts, description)
VALUES (%(name)s, %(default_priority)s, %(timeout_seconds)s, %(max_attempts)s, %(description)s)
ON CONFLICT (name) DO UPDATE
SET default_priority = EXCLUDED.default_priority,
    timeout_seconds = EXCLUDED.timeout_seconds,
    max_attempts = EXCLUDED.max_attempts,
    description = EXCLUDED.description
WHERE (job_queues.default_priority, job_queues.timeout_seconds, job_queues.max_attempts, job_queues.description)
    IS DISTINCT FROM (EXCLUDED.default_priority, EXCLUDED.timeout_seconds, EXCLUDED.max_attempts, EXCLUDED.description);

-- name: insert_job
-- One job with its queue's defaults. No row back: the queue is unknown, or a live job has the key, or the id is taken.
INSERT INTO jobs (id, queue_name, priority, payload, max_attempts, run_at, due, dedupe_key, tenant_id)
SELECT
    %(id)s,
    job_queues.name,
    coalesce(%(priority)s::integer, job_queues.default_priority),
    %(payload)s::jsonb,
    coalesce(
        %(max_attempts)s::integer,
        CASE
            WHEN coalesce(%(priority)s::integer, job_queues.default_priority) <= %(high_until)s
                THEN greatest(job_queues.max_attempts, %(high_attempts)s)
            ELSE job_queues.max_attempts
        END
    ),
    coalesce(%(run_at)s::timestamptz, now()),
    coalesce(%(run_at)s::timestamptz <= now(), true),
    %(dedupe_key)s::varchar,
    %(tenant_id)s::uuid
FROM job_queues
WHERE job_queues.name = %(queue_name)s
ON CONFLICT DO NOTHING
RETURNING id;

-- name: existing_job
-- Why insert_job gave no row: whether the queue is known, and the job that was there before.
SELECT
    EXISTS (SELECT FROM job_queues WHERE name = %(queue_name)s) AS queue_is_known,
    (
        SELECT id
        FROM jobs
        WHERE id = %(id)s
            OR (
                queue_name = %(queue_name)s
                AND dedupe_key = %(dedupe_key)s
                AND status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running')
            )
        LIMIT 1
    ) AS existing_id;

-- name: queue_defaults
-- What jobs of each queue get when they name nothing else.
SELECT name, default_priority, max_attempts FROM job_queues;

-- name: make_bulk_table
-- Bulk rows land here first, because COPY knows no conflicts.
CREATE TEMPORARY TABLE IF NOT EXISTS jobs_bulk (
    id uuid,
    queue_name varchar(100),
    priority integer,
    payload jsonb,
    max_attempts integer,
    run_at timestamptz,
    dedupe_key varchar(200),
    tenant_id uuid
) ON COMMIT DELETE ROWS;

-- name: copy_bulk
-- Fills the bulk table.
COPY jobs_bulk (id, queue_name, priority, payload, max_attempts, run_at, dedupe_key, tenant_id) FROM STDIN;

-- name: insert_bulk
-- Takes over the bulk rows; one whose key a live job has is left out.
WITH taken AS (
    DELETE FROM jobs_bulk RETURNING *
)
INSERT INTO jobs (id, queue_name, priority, payload, max_attempts, run_at, due, dedupe_key, tenant_id)
SELECT
    id, queue_name, priority, payload, max_attempts, coalesce(run_at, now()), coalesce(run_at <= now(), true), dedupe_key, tenant_id
FROM taken
ON CONFLICT DO NOTHING;
