-- The protocol for workers of other languages: five calls that give them the same fence and lease as our own.
-- BRPOP a message from queue:<name>:high, queue:<name>, queue:<name>:low; it names job (id) and generation (gen).

-- Registers a worker process and returns its id: a new one at every start.
CREATE FUNCTION queue_register_worker(queue_names text [], lease_seconds double precision DEFAULT 10) RETURNS uuid
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO workers (id, kind, lease_expires, slots, queue_names)
    VALUES (gen_random_uuid(), 'worker', now() + make_interval(secs => lease_seconds), 1, queue_names)
    RETURNING id
$$;

-- Renews the lease; to be called every few seconds. False: this process was declared dead and must stop what it does.
CREATE FUNCTION queue_heartbeat(worker uuid, lease_seconds double precision DEFAULT 10) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    WITH renewed AS (
        UPDATE workers
        SET lease_expires = now() + make_interval(secs => lease_seconds), renewed = now()
        WHERE id = worker AND NOT dead
        RETURNING id
    )
    SELECT count(*) = 1 FROM renewed
$$;

-- Takes the job of a message. No row: the message is stale or doubled, and is to be dropped.
CREATE FUNCTION queue_start(job uuid, generation bigint, worker uuid)
RETURNS TABLE (payload jsonb, attempt integer, max_attempts integer, timeout_seconds integer)
LANGUAGE sql VOLATILE
AS $$
    UPDATE jobs
    SET status = 'running',
        started = now(),
        updated = now(),
        worker_id = worker,
        attempt_count = jobs.attempt_count + 1,
        lease_expires = now() + make_interval(secs => job_queues.timeout_seconds)
    FROM job_queues
    WHERE jobs.id = job
        AND jobs.gen = generation
        AND jobs.status = 'migrated_to_redis'
        AND job_queues.name = jobs.queue_name
        AND job_queues.is_active
        AND EXISTS (SELECT FROM workers WHERE workers.id = worker AND NOT workers.dead AND workers.lease_expires > now())
    RETURNING jobs.payload, jobs.attempt_count, jobs.max_attempts, job_queues.timeout_seconds
$$;

-- Completes a job; may be part of the transaction that holds the job's effect. False: it was taken away, so roll back.
CREATE FUNCTION queue_finish(job uuid, generation bigint, worker uuid) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    WITH finished AS (
        UPDATE jobs
        SET status = 'completed', completed = now(), updated = now(), lease_expires = NULL, last_error_message = NULL
        WHERE id = job AND gen = generation AND status = 'running' AND worker_id = worker
        RETURNING id, gen, queue_name, attempt_count, started, run_at
    ),

    logged AS (
        INSERT INTO job_logs (job_id, gen, queue_name, status, attempt_number, started, finished, duration, waited)
        SELECT id, gen, queue_name, 'success', attempt_count, started, now(), now() - started, started - run_at
        FROM finished
        RETURNING job_id
    )

    SELECT count(*) = 1 FROM logged
$$;

-- Ends an attempt that went wrong: tried again after 2^attempt seconds (at most 300, a quarter of jitter), or a dead letter.
-- The message must hold no personal data and no secret. False: the job had been taken away.
CREATE FUNCTION queue_fail(job uuid, generation bigint, worker uuid, error text, retryable boolean DEFAULT true)
RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    WITH ended AS (
        UPDATE jobs
        SET status = CASE WHEN retryable AND attempt_count < max_attempts THEN 'retry_scheduled' ELSE 'failed' END,
            gen = gen + 1,
            worker_id = NULL,
            lease_expires = NULL,
            run_at = CASE
                WHEN retryable AND attempt_count < max_attempts
                    THEN now() + make_interval(secs => least(300, 2 ^ least(attempt_count, 20) * (0.75 + random() * 0.5)))
                ELSE run_at
            END,
            due = NOT (retryable AND attempt_count < max_attempts),
            failed = CASE WHEN retryable AND attempt_count < max_attempts THEN NULL ELSE now() END,
            last_error_message = left(error, 500),
            updated = now()
        WHERE id = job AND gen = generation AND status = 'running' AND worker_id = worker
        RETURNING id, queue_name, status, attempt_count, started
    ),

    logged AS (
        INSERT INTO job_logs (job_id, gen, queue_name, status, log_message, attempt_number, started, finished, duration)
        SELECT
            id,
            generation,
            queue_name,
            CASE WHEN status = 'failed' THEN 'failed' ELSE 'retry' END,
            left(error, 500),
            attempt_count,
            started,
            now(),
            now() - started
        FROM ended
        RETURNING job_id
    )

    SELECT count(*) = 1 FROM logged
$$;

-- Which moments of a schedule have had their job: each once, however many schedulers there are and however it ended.
CREATE TABLE queue_ticks (
    schedule_name varchar(200) NOT NULL,
    tick timestamptz NOT NULL,
    job_id uuid NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule_name, tick)
);

-- Files of jobs that have left. A file that is not listed here was left by a kill and counts for nothing.
CREATE TABLE queue_archives (
    object_key text PRIMARY KEY,
    kind varchar(20) NOT NULL CHECK (kind IN ('completed', 'failed', 'logs')),
    day date NOT NULL,
    row_count bigint NOT NULL,
    size_bytes bigint NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX jobs_ended ON jobs (updated, id) WHERE status IN ('completed', 'failed', 'cancelled');
