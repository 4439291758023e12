-- Finished jobs leave for the archive.

-- name: only_one_archiver
-- True for one session at a time.
SELECT pg_try_advisory_lock(7364285190007);

-- name: listed_files
-- The files that count.
SELECT object_key FROM queue_archives;

-- name: ended_jobs
-- The oldest jobs that ended before a time, all of one UTC day.
WITH first_ended AS (
    SELECT updated
    FROM jobs
    WHERE status IN ('completed', 'failed', 'cancelled') AND status = ANY(%(statuses)s::varchar []) AND updated < %(before)s
    ORDER BY updated, id
    LIMIT 1
)

SELECT
    jobs.id::text AS id,
    jobs.queue_name,
    jobs.status,
    jobs.priority,
    jobs.payload::text AS payload,
    jobs.attempt_count,
    jobs.max_attempts,
    jobs.run_at,
    jobs.started,
    jobs.completed,
    jobs.failed,
    jobs.last_error_message,
    jobs.created,
    jobs.updated,
    jobs.gen,
    jobs.crash_count,
    jobs.dedupe_key,
    jobs.tenant_id::text AS tenant_id
FROM jobs, first_ended
WHERE jobs.status IN ('completed', 'failed', 'cancelled')
    AND jobs.status = ANY(%(statuses)s::varchar [])
    AND jobs.updated < least(%(before)s, (date_trunc('day', first_ended.updated, 'UTC') + interval '1 day'))
ORDER BY jobs.updated, jobs.id
LIMIT %(batch)s;

-- name: logs_of_jobs
-- The attempts of these jobs.
SELECT
    job_id::text AS job_id,
    gen,
    queue_name,
    status,
    attempt_number,
    started,
    finished,
    extract(epoch FROM duration)::double precision AS duration_seconds,
    extract(epoch FROM waited)::double precision AS waited_seconds,
    log_message
FROM job_logs
WHERE job_id = ANY(%(ids)s::uuid [])
ORDER BY id;

-- name: list_file
-- From now on the file counts.
INSERT INTO queue_archives (object_key, kind, day, row_count, size_bytes)
VALUES (%(object_key)s, %(kind)s, %(day)s, %(row_count)s, %(size_bytes)s);

-- name: remove_jobs
-- Looks once more: only what is still just as it was written away.
DELETE FROM jobs
USING unnest(%(ids)s::uuid [], %(gens)s::bigint []) AS written (id, gen)
WHERE jobs.id = written.id AND jobs.gen = written.gen AND jobs.status IN ('completed', 'failed', 'cancelled');

-- name: old_files
-- Files past the time their kind is kept, the oldest first.
SELECT object_key, kind, day, row_count, size_bytes
FROM queue_archives
WHERE (kind = 'completed' AND day < %(completed_before)s)
    OR (kind = 'failed' AND day < %(failed_before)s)
    OR (kind = 'logs' AND day < %(logs_before)s)
ORDER BY day, object_key
LIMIT %(most)s;

-- name: unlist_file
-- The file is gone.
DELETE FROM queue_archives WHERE object_key = %(object_key)s;

-- name: add_to_summary
-- What is left of attempts whose file goes.
INSERT INTO queue_log_summaries (day, queue_name, status, attempts, duration_seconds, longest_seconds, waited_seconds)
VALUES (
    %(day)s, %(queue_name)s, %(status)s, %(attempts)s, %(duration_seconds)s, %(longest_seconds)s, %(waited_seconds)s
)
ON CONFLICT (day, queue_name, status) DO UPDATE
SET attempts = queue_log_summaries.attempts + EXCLUDED.attempts,
    duration_seconds = queue_log_summaries.duration_seconds + EXCLUDED.duration_seconds,
    longest_seconds = greatest(queue_log_summaries.longest_seconds, EXCLUDED.longest_seconds),
    waited_seconds = queue_log_summaries.waited_seconds + EXCLUDED.waited_seconds;
