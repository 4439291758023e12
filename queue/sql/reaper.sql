-- Statements of reaper and reconciler. Each selects and changes in one go: what it decides on cannot have changed meanwhile.

-- name: reclaim
-- Takes running jobs from processes that are dead and from runs past their time. A process's death is no fault of the job:
-- that attempt does not count, until it has happened too often. A run past its time is a failed attempt.
WITH lost AS MATERIALIZED (
    SELECT
        jobs.id,
        jobs.gen,
        jobs.run_at,
        jobs.attempt_count >= jobs.max_attempts AS was_last_attempt,
        jobs.crash_count + 1 AS crashes,
        (workers.id IS NULL OR workers.dead) AS worker_died
    FROM jobs
    LEFT JOIN workers ON workers.id = jobs.worker_id
    WHERE jobs.status = 'running' AND (workers.id IS NULL OR workers.dead OR jobs.lease_expires < now())
    LIMIT %(batch)s
    FOR UPDATE OF jobs SKIP LOCKED
),

verdicts AS MATERIALIZED (
    SELECT
        id,
        gen,
        run_at,
        worker_died,
        CASE WHEN worker_died THEN crashes >= %(crash_limit)s ELSE was_last_attempt END AS is_final,
        CASE
            WHEN worker_died THEN 'the process that ran it died'
            ELSE 'it ran past its time limit and its worker did not end it'
        END AS reason
    FROM lost
),

reclaimed AS (
    UPDATE jobs
    SET status = CASE WHEN verdicts.is_final THEN 'failed' ELSE 'queued' END,
        gen = jobs.gen + 1,
        attempt_count = jobs.attempt_count - CASE WHEN verdicts.worker_died AND NOT verdicts.is_final THEN 1 ELSE 0 END,
        crash_count = jobs.crash_count + CASE WHEN verdicts.worker_died THEN 1 ELSE 0 END,
        worker_id = NULL,
        lease_expires = NULL,
        due = true,
        failed = CASE WHEN verdicts.is_final THEN now() END,
        last_error_message = verdicts.reason,
        updated = now()
    FROM verdicts
    WHERE jobs.id = verdicts.id
    RETURNING
        jobs.id, verdicts.gen, jobs.queue_name, jobs.attempt_count, jobs.started, verdicts.run_at, verdicts.reason,
        verdicts.is_final, verdicts.worker_died
),

logged AS (
    INSERT INTO job_logs (job_id, gen, queue_name, status, log_message, attempt_number, started, finished, duration, waited)
    SELECT
        id,
        gen,
        queue_name,
        CASE WHEN is_final THEN 'failed' ELSE 'retry' END,
        reason,
        attempt_count + CASE WHEN worker_died AND NOT is_final THEN 1 ELSE 0 END,
        started,
        now(),
        now() - started,
        started - run_at
    FROM reclaimed
)

SELECT id, is_final, worker_died FROM reclaimed;

-- name: overdue_hand_offs
-- Hand-offs that should have been started by now: somebody has to look whether Redis still has them.
SELECT id, gen, queue_name
FROM jobs
WHERE status = 'migrated_to_redis' AND lease_expires < now()
ORDER BY lease_expires
LIMIT %(batch)s;

-- name: extend_hand_offs
-- They are still in Redis: looked for again later.
UPDATE jobs
SET lease_expires = now() + make_interval(secs => %(hand_off_seconds)s)
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
WHERE jobs.id = message.id AND jobs.gen = message.gen AND jobs.status || '' = 'migrated_to_redis'
RETURNING jobs.id;

-- name: suspect_all_hand_offs
-- Redis is not the one it was: every hand-off is to be looked for now.
UPDATE jobs SET lease_expires = now() - interval '1 second' WHERE status = 'migrated_to_redis' AND lease_expires >= now();

-- name: known_epoch
-- The Redis that the last reconciliation saw.
SELECT epoch FROM queue_fast_lane;

-- name: remember_epoch
-- The Redis that this reconciliation saw.
INSERT INTO queue_fast_lane (epoch) VALUES (%(epoch)s)
ON CONFLICT (only_row) DO UPDATE SET epoch = EXCLUDED.epoch, reconciled = now();

-- name: note_reconciled
-- A sign of life of the reconciler.
UPDATE queue_fast_lane SET reconciled = now();

-- name: dead_letters
-- The newest jobs that failed for good since a moment, as their mirror in Redis shows them.
SELECT
    id,
    failed,
    json_build_object(
        'id', id,
        'queue_name', queue_name,
        'payload', payload,
        'error', last_error_message,
        'failed_at', failed,
        'attempt_count', attempt_count,
        'max_attempts', max_attempts,
        'original_priority', priority
    )::text AS letter
FROM jobs
WHERE status = 'failed' AND failed >= coalesce(%(since)s::timestamptz, now() - interval '7 days')
ORDER BY failed DESC
LIMIT %(most)s;

-- name: old_hand_offs
-- Jobs handed over some time ago, which somebody should have started by now.
SELECT id, gen, queue_name
FROM jobs
WHERE status = 'migrated_to_redis' AND updated < now() - make_interval(secs => %(seconds)s)
LIMIT %(most)s;

-- name: still_handed_off
-- How many of these are handed over still.
SELECT count(*)
FROM unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS message (id, gen)
INNER JOIN jobs ON jobs.id = message.id
WHERE jobs.gen = message.gen AND jobs.status || '' = 'migrated_to_redis';

-- name: only_one_reaper
-- True for one session at a time. Two would do no harm; one is enough.
SELECT pg_try_advisory_lock(7364285190006);

-- name: reaper_is_silent
-- True when the active reaper holds its lock and does nothing: frozen, or cut off.
SELECT coalesce((SELECT reconciled < now() - make_interval(secs => %(seconds)s) FROM queue_fast_lane), false);
