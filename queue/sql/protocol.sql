-- The statements that move a job on. Every one compares what it expects with what is there, and sets both at once:
-- (id, gen, status, worker). A row that does not match was moved by somebody else and is left alone.
--
-- How the batches are phrased: `unnest` is walked and each row found by its primary key. Conditions on state are written so
-- that no partial index and no statistics apply to them (status || ''), because statistics about states that last
-- milliseconds are always stale, and a plan built on them reads every row in flight.

-- name: promote_due
-- Lets scheduled jobs whose time has come into the index of ready jobs.
WITH arrived AS MATERIALIZED (
    SELECT id
    FROM jobs
    WHERE status IN ('queued', 'retry_scheduled') AND NOT due AND run_at <= now()
    ORDER BY run_at
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs
SET due = true
FROM arrived
WHERE jobs.id = arrived.id;

-- name: listen_for_jobs
-- The trigger jobs_are_new notifies …
LISTEN queue_jobs;

-- name: say_that_a_relay_listens
-- … as long as a relay holds this lock.
SELECT pg_advisory_lock_shared(7364285190008);

-- name: say_that_no_relay_listens
-- Under load a relay looks again and again by itself.
SELECT pg_advisory_unlock_shared(7364285190008);

-- name: queues_with_ready_jobs
-- What a relay asks at every turn: one look into the index a queue, however long its backlog.
SELECT job_queues.name
FROM job_queues
CROSS JOIN LATERAL (
    SELECT
    FROM jobs
    WHERE jobs.queue_name = job_queues.name AND jobs.status IN ('queued', 'retry_scheduled') AND jobs.due
    LIMIT 1
) AS ready
WHERE job_queues.is_active
ORDER BY job_queues.name;

-- name: claim
-- Takes ready jobs, as many a lane (queue and band) as there is room for. Tenants take turns, each with its own jobs soonest
-- first; one with a rate limit is given no more than it has tokens for.
WITH RECURSIVE lanes AS (
    SELECT lane.*
    FROM unnest(
        %(queue_names)s::varchar [], %(first_priorities)s::integer [], %(last_priorities)s::integer [], %(rooms)s::integer []
    ) AS lane (queue_name, first_priority, last_priority, room)
    INNER JOIN job_queues ON job_queues.name = lane.queue_name
    WHERE job_queues.is_active
),

-- Jumps from tenant to tenant along the index, whatever the backlog of each.
tenants AS (
    SELECT
        queues.queue_name,
        (
            SELECT coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000')
            FROM jobs
            WHERE jobs.queue_name = queues.queue_name AND jobs.status IN ('queued', 'retry_scheduled') AND jobs.due
            ORDER BY coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000')
            LIMIT 1
        ) AS tenant_id
    FROM (SELECT DISTINCT lanes.queue_name FROM lanes) AS queues
    UNION ALL
    SELECT
        tenants.queue_name,
        (
            SELECT coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000')
            FROM jobs
            WHERE jobs.queue_name = tenants.queue_name
                AND jobs.status IN ('queued', 'retry_scheduled')
                AND jobs.due
                AND coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000') > tenants.tenant_id
            ORDER BY coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000')
            LIMIT 1
        )
    FROM tenants
    WHERE tenants.tenant_id IS NOT NULL
),

-- A bucket that another relay is drawing from just now counts as empty.
buckets AS MATERIALIZED (
    SELECT
        queue_name,
        tenant_id,
        least(burst, tokens + jobs_per_second * extract(epoch FROM now() - refilled)) AS tokens
    FROM queue_limits
    WHERE queue_name = ANY(%(queue_names)s::varchar [])
    FOR UPDATE SKIP LOCKED
),

shares AS (
    SELECT
        tenants.queue_name,
        tenants.tenant_id,
        -- Twice an equal share: what some do not use up others may have.
        2.0 / count(*) OVER (PARTITION BY tenants.queue_name) AS part,
        CASE WHEN queue_limits.tenant_id IS NOT NULL THEN greatest(0, floor(coalesce(buckets.tokens, 0))) END AS allowance
    FROM tenants
    LEFT JOIN queue_limits USING (queue_name, tenant_id)
    LEFT JOIN buckets USING (queue_name, tenant_id)
    WHERE tenants.tenant_id IS NOT NULL
),

candidates AS MATERIALIZED (
    SELECT
        ready.id,
        ready.priority,
        ready.created,
        lanes.queue_name,
        lanes.first_priority,
        lanes.room,
        shares.tenant_id
    FROM lanes
    INNER JOIN shares ON shares.queue_name = lanes.queue_name
    CROSS JOIN LATERAL (
        SELECT jobs.id, jobs.priority, jobs.created
        FROM jobs
        WHERE jobs.queue_name = lanes.queue_name
            AND coalesce(jobs.tenant_id, '00000000-0000-0000-0000-000000000000') = shares.tenant_id
            AND jobs.priority BETWEEN lanes.first_priority AND lanes.last_priority
            AND jobs.status IN ('queued', 'retry_scheduled')
            AND jobs.due
            AND jobs.run_at <= now()
        ORDER BY jobs.priority, jobs.created, jobs.id
        LIMIT least(lanes.room, ceil(lanes.room * shares.part), shares.allowance)::bigint
        FOR UPDATE SKIP LOCKED
    ) AS ready
),

turns AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY queue_name, first_priority, tenant_id ORDER BY priority, created, id
        ) AS turn
    FROM candidates
),

placed AS (
    SELECT
        turns.*,
        row_number() OVER (PARTITION BY queue_name, first_priority ORDER BY turn, priority, created, id) AS place
    FROM turns
),

picked AS MATERIALIZED (
    SELECT id, queue_name, tenant_id, row_number() OVER (ORDER BY first_priority, place, id) AS place
    FROM placed
    WHERE place <= room
    ORDER BY first_priority, place, id
    LIMIT %(most)s
),

spent AS (
    UPDATE queue_limits
    SET tokens = buckets.tokens - (
            SELECT count(*)
            FROM picked
            WHERE picked.queue_name = buckets.queue_name AND picked.tenant_id = buckets.tenant_id
        ),
        refilled = now()
    FROM buckets
    WHERE queue_limits.queue_name = buckets.queue_name
        AND queue_limits.tenant_id = buckets.tenant_id
        AND EXISTS (
            SELECT FROM picked WHERE picked.queue_name = buckets.queue_name AND picked.tenant_id = buckets.tenant_id
        )
)

UPDATE jobs
SET status = 'migrated_to_redis',
    gen = jobs.gen + 1,
    lease_expires = now() + make_interval(secs => %(hand_off_seconds)s),
    updated = now()
FROM picked
WHERE jobs.id = picked.id
RETURNING
    jobs.id,
    jobs.gen,
    jobs.queue_name,
    jobs.priority,
    picked.place,
    json_build_object(
        'id', jobs.id,
        'queue_name', jobs.queue_name,
        'priority', jobs.priority,
        'payload', jobs.payload,
        'created_at', jobs.created,
        'attempt_count', jobs.attempt_count,
        'max_attempts', jobs.max_attempts,
        'gen', jobs.gen
    )::text AS message,
    jobs.attempt_count,
    extract(epoch FROM now() - jobs.run_at)::double precision AS ready_seconds;

-- name: put_back
-- Hand-offs that are not in Redis (any more) become ready again; their old message, should it turn up, is stale.
UPDATE jobs
SET status = 'queued', gen = jobs.gen + 1, lease_expires = NULL, due = true, updated = now()
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
WHERE jobs.id = message.id AND jobs.gen = message.gen AND jobs.status || '' = 'migrated_to_redis'
RETURNING jobs.id;

-- name: start
-- A live worker takes what it reserved. A row that does not come back belongs to a stale or doubled message.
UPDATE jobs
SET status = 'running',
    started = now(),
    updated = now(),
    worker_id = %(worker_id)s,
    attempt_count = jobs.attempt_count + 1,
    progress = NULL,
    progress_note = NULL,
    lease_expires = now() + make_interval(secs => job_queues.timeout_seconds + %(slack_seconds)s)
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen), job_queues
WHERE jobs.id = message.id
    AND jobs.gen = message.gen
    AND jobs.status || '' = 'migrated_to_redis'
    AND job_queues.name = jobs.queue_name
    AND job_queues.is_active
    AND EXISTS (
        SELECT FROM workers WHERE workers.id = %(worker_id)s AND NOT workers.dead AND workers.lease_expires > now()
    )
RETURNING
    jobs.id, jobs.gen, jobs.queue_name, jobs.payload::text AS payload, jobs.attempt_count, jobs.max_attempts, jobs.tenant_id,
    jobs.crash_count,
    extract(epoch FROM jobs.started - jobs.run_at)::double precision AS waited_seconds,
    extract(epoch FROM jobs.lease_expires - now())::double precision AS lease_seconds,
    job_queues.timeout_seconds;

-- name: adopt
-- What the worker had started when the answer got lost with the connection.
SELECT
    jobs.id, jobs.gen, jobs.queue_name, jobs.payload::text AS payload, jobs.attempt_count, jobs.max_attempts, jobs.tenant_id,
    jobs.crash_count,
    extract(epoch FROM jobs.started - jobs.run_at)::double precision AS waited_seconds,
    extract(epoch FROM jobs.lease_expires - now())::double precision AS lease_seconds,
    job_queues.timeout_seconds
FROM jobs
INNER JOIN job_queues ON job_queues.name = jobs.queue_name
WHERE jobs.worker_id = %(worker_id)s AND jobs.status = 'running' AND NOT jobs.id = ANY(%(in_hand)s::uuid []);

-- name: finish
-- Completes what this worker still owns and logs it. A row that does not come back was taken away meanwhile.
WITH finished AS (
    UPDATE jobs
    SET status = 'completed', completed = now(), updated = now(), lease_expires = NULL, last_error_message = NULL
    FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
    WHERE jobs.id = message.id
        AND jobs.gen = message.gen
        AND jobs.status || '' = 'running'
        AND jobs.worker_id::text = %(worker_id)s::text
    RETURNING jobs.id, jobs.gen, jobs.queue_name, jobs.attempt_count, jobs.started, jobs.run_at
)

INSERT INTO job_logs (job_id, gen, queue_name, status, attempt_number, started, finished, duration, waited)
SELECT id, gen, queue_name, 'success', attempt_count, started, now(), now() - started, started - run_at
FROM finished
RETURNING job_id;

-- name: fail
-- Ends one attempt that went wrong: tried again later, or a dead letter when that was the last.
WITH ended AS (
    UPDATE jobs
    SET status = CASE WHEN report.is_final THEN 'failed' ELSE 'retry_scheduled' END,
        gen = jobs.gen + 1,
        worker_id = NULL,
        lease_expires = NULL,
        run_at = CASE WHEN report.is_final THEN jobs.run_at ELSE now() + make_interval(secs => report.delay_seconds) END,
        due = report.is_final,
        failed = CASE WHEN report.is_final THEN now() END,
        crash_count = jobs.crash_count + report.crashes,
        last_error_message = report.error,
        updated = now()
    FROM unnest(
        %(ids)s::uuid [], %(gens)s::bigint [], %(finals)s::boolean [], %(delays)s::double precision [],
        %(errors)s::text [], %(crashes)s::integer [], %(waits)s::double precision []
    ) AS report (id, gen, is_final, delay_seconds, error, crashes, waited_seconds)
    WHERE jobs.id = report.id
        AND jobs.gen = report.gen
        AND jobs.status || '' = 'running'
        AND jobs.worker_id::text = %(worker_id)s::text
    RETURNING
        jobs.id, report.gen, jobs.queue_name, report.is_final, jobs.attempt_count, jobs.started, report.waited_seconds,
        report.error
)

INSERT INTO job_logs (job_id, gen, queue_name, status, log_message, attempt_number, started, finished, duration, waited)
SELECT
    id,
    gen,
    queue_name,
    CASE WHEN is_final THEN 'failed' ELSE 'retry' END,
    error,
    attempt_count,
    started,
    now(),
    now() - started,
    make_interval(secs => waited_seconds)
FROM ended
RETURNING job_id;

-- name: release
-- Gives back what was started and not run: the attempt does not count.
UPDATE jobs
SET status = 'queued',
    gen = jobs.gen + 1,
    attempt_count = jobs.attempt_count - 1,
    worker_id = NULL,
    lease_expires = NULL,
    due = true,
    updated = now()
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
WHERE jobs.id = message.id
    AND jobs.gen = message.gen
    AND jobs.status || '' = 'running'
    AND jobs.worker_id::text = %(worker_id)s::text
RETURNING jobs.id;

-- name: owned
-- Which of these runs still belong to the worker, and which were cancelled.
SELECT
    jobs.id,
    jobs.gen = message.gen AND jobs.status || '' = 'running' AND jobs.worker_id::text = %(worker_id)s::text AS is_owned,
    jobs.status = 'cancelled' AS is_cancelled
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
INNER JOIN jobs ON jobs.id = message.id;

-- name: note_progress
-- How far handlers say they are.
UPDATE jobs
SET progress = report.share, progress_note = report.note, updated = now()
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint [], %(shares)s::real [], %(notes)s::varchar []) AS report (id, gen, share, note)
WHERE jobs.id = report.id
    AND jobs.gen = report.gen
    AND jobs.status || '' = 'running'
    AND jobs.worker_id::text = %(worker_id)s::text;

-- name: runnable
-- How many jobs of these queues could be run now, or are being run.
SELECT count(*)
FROM jobs
INNER JOIN job_queues ON job_queues.name = jobs.queue_name
WHERE jobs.queue_name = ANY(%(queue_names)s::varchar [])
    AND job_queues.is_active
    AND (
        (jobs.status IN ('queued', 'retry_scheduled') AND jobs.run_at <= now())
        OR jobs.status IN ('migrated_to_redis', 'running')
    );
