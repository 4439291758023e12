-- What the queue looks like, read in one snapshot.

-- name: lanes
-- Per queue and band: ready, handed over, running, waiting for their time, and since when the oldest is ready.
WITH banded AS (
    SELECT
        queue_name,
        CASE
            WHEN priority <= %(high_until)s THEN 'high'
            WHEN priority <= %(normal_until)s THEN 'normal'
            ELSE 'low'
        END AS band,
        status,
        run_at
    FROM jobs
    WHERE status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running')
)

SELECT
    queue_name,
    band,
    count(*) FILTER (WHERE status IN ('queued', 'retry_scheduled') AND run_at <= now()) AS ready,
    count(*) FILTER (WHERE status = 'migrated_to_redis') AS handed_off,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status IN ('queued', 'retry_scheduled') AND run_at > now()) AS scheduled,
    coalesce(
        extract(epoch FROM now() - min(run_at) FILTER (WHERE status <> 'running' AND run_at <= now())), 0
    )::double precision AS oldest_ready_seconds
FROM banded
GROUP BY queue_name, band
ORDER BY queue_name, band;

-- name: queues
-- The queues and whether they are active.
SELECT name, is_active FROM job_queues ORDER BY name;

-- name: recent_ends
-- Attempts that ended in the last five minutes, by queue, with waiting and run times.
SELECT
    queue_name,
    count(*) FILTER (WHERE status = 'success') AS completed,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'retry') AS retried,
    (count(*) FILTER (WHERE status = 'success' AND finished > now() - interval '10 seconds') / 10.0)::double precision AS rate,
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM waited)), 0)::double precision AS wait_p50_seconds,
    coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM waited)), 0)::double precision AS wait_p95_seconds,
    coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM waited)), 0)::double precision AS wait_p99_seconds,
    coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM duration)), 0)::double precision AS run_p95_seconds
FROM job_logs
WHERE finished > now() - interval '5 minutes'
GROUP BY queue_name
ORDER BY queue_name;

-- name: totals
-- Figures that no queue has alone.
SELECT
    (SELECT count(*) FROM jobs WHERE status = 'failed') AS dead_letters,
    (
        SELECT count(*)
        FROM jobs
        WHERE status = 'migrated_to_redis' AND lease_expires < now() - make_interval(secs => %(overdue_seconds)s)
    ) AS overdue_hand_offs,
    coalesce(
        (SELECT extract(epoch FROM now() - min(reconciled)) FROM queue_fast_lane), 0
    )::double precision AS reconciler_silent_seconds,
    coalesce(
        (
            SELECT extract(epoch FROM now() - min(xact_start))
            FROM pg_stat_activity
            WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        ),
        0
    )::double precision AS oldest_transaction_seconds,
    coalesce((SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass), 0) AS dead_rows,
    coalesce((SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass), 0) AS jobs_inserted;

-- name: processes
-- The living processes.
SELECT
    id,
    kind,
    extract(epoch FROM now() - started)::double precision AS age_seconds,
    extract(epoch FROM now() - renewed)::double precision AS silent_seconds,
    slots,
    busy
FROM workers
WHERE NOT dead AND lease_expires > now()
ORDER BY kind, started, id;

-- name: keep_probe
-- One row a probe: the history that plots and trends are made of.
INSERT INTO queue_probes (
    probed_at, waiting_jobs, running_jobs, oldest_ready_seconds, finished_5_minutes, failed_5_minutes, dead_letters,
    live_workers, redis_memory_bytes, redis_evicted_keys, snapshot
)
VALUES (
    %(probed_at)s, %(waiting_jobs)s, %(running_jobs)s, %(oldest_ready_seconds)s, %(finished_5_minutes)s,
    %(failed_5_minutes)s, %(dead_letters)s, %(live_workers)s, %(redis_memory_bytes)s, %(redis_evicted_keys)s,
    %(snapshot)s::jsonb
);

-- name: forget_probes
-- Ends the history where it is older than wanted.
DELETE FROM queue_probes WHERE probed_at < %(before)s;

-- name: tenants
-- The tenants with the most live jobs.
SELECT
    coalesce(tenant_id, '00000000-0000-0000-0000-000000000000') AS tenant_id,
    count(*) FILTER (WHERE status IN ('queued', 'retry_scheduled') AND run_at <= now()) AS ready,
    count(*) FILTER (WHERE status = 'migrated_to_redis') AS handed_off,
    count(*) FILTER (WHERE status = 'running') AS running,
    coalesce(
        extract(epoch FROM now() - min(run_at) FILTER (WHERE status <> 'running' AND run_at <= now())), 0
    )::double precision AS oldest_ready_seconds
FROM jobs
WHERE status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running')
GROUP BY 1
ORDER BY count(*) DESC, tenant_id
LIMIT %(most)s;
