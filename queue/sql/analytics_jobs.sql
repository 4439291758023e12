-- Analytics that were made.

-- name: record_completed
-- The job as it was asked for, and when it was done.
INSERT INTO analytics_jobs (id, job_type, status, payload, priority, queued, processed)
SELECT id, queue_name, 'completed', payload, priority, created, now()
FROM jobs
WHERE id = %(id)s
ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, processed = EXCLUDED.processed, error_message = NULL;
