-- No limit is infinite: taking it away says so.
DELETE FROM queue_limits WHERE jobs_per_second IN ('Infinity', 'NaN');

ALTER TABLE queue_limits ADD CHECK (jobs_per_second < 'Infinity');

-- What a worker of another language says about a failure, without the addresses (and logins of URLs) it may quote.
CREATE FUNCTION queue_clean_error(error text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT left(regexp_replace(error, '[^[:space:]<>()"'',;:]+(:[^[:space:]<>()"''@]*)?@[^[:space:]<>()"'',;]+', '<address>', 'g'), 500)
$$;

CREATE OR REPLACE FUNCTION queue_fail(job uuid, generation bigint, worker uuid, error text, retryable boolean DEFAULT true)
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
            last_error_message = queue_clean_error(error),
            updated = now()
        WHERE id = job AND gen = generation AND status = 'running' AND worker_id = worker
        RETURNING id, queue_name, status, attempt_count, started, last_error_message
    ),

    logged AS (
        INSERT INTO job_logs (job_id, gen, queue_name, status, log_message, attempt_number, started, finished, duration)
        SELECT
            id,
            generation,
            queue_name,
            CASE WHEN status = 'failed' THEN 'failed' ELSE 'retry' END,
            last_error_message,
            attempt_count,
            started,
            now(),
            now() - started
        FROM ended
        RETURNING job_id
    )

    SELECT count(*) = 1 FROM logged
$$;
