-- Tells waiting relays that jobs were inserted: one NOTIFY a transaction, and only while a relay waits for it (it then holds this lock
-- shared), because a commit that notifies waits for every other one that does. The lock goes with its relay, however that ends.
CREATE FUNCTION queue_say_jobs_are_new() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF pg_try_advisory_lock(7364285190008) THEN
        PERFORM pg_advisory_unlock(7364285190008);
    ELSE
        PERFORM pg_notify('queue_jobs', '');
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER jobs_are_new AFTER INSERT ON jobs
FOR EACH STATEMENT
EXECUTE FUNCTION queue_say_jobs_are_new();

CREATE OR REPLACE FUNCTION queue_start(job uuid, generation bigint, worker uuid)
RETURNS TABLE (payload jsonb, attempt integer, max_attempts integer, timeout_seconds integer)
LANGUAGE sql VOLATILE
AS $$
    UPDATE jobs
    SET status = 'running',
        started = now(),
        updated = now(),
        worker_id = worker,
        attempt_count = jobs.attempt_count + 1,
        progress = NULL,
        progress_note = NULL,
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
