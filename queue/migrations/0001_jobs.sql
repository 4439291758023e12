-- The queue's durable record. The product's tables and columns keep their names; what this platform adds is marked "added".

-- Time-ordered ids (RFC 9562, version 7) on every PostgreSQL from 15 on; only version 18 has a function of its own.
CREATE FUNCTION queue_new_id() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    SELECT encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
$$;

CREATE TABLE job_queues (
    name varchar(100) PRIMARY KEY,
    default_priority integer NOT NULL DEFAULT 100 CHECK (default_priority BETWEEN 0 AND 1000),
    is_active boolean NOT NULL DEFAULT true,
    created timestamptz NOT NULL DEFAULT now(),
    -- added
    timeout_seconds integer NOT NULL DEFAULT 60 CHECK (timeout_seconds BETWEEN 1 AND 86400),
    max_attempts integer NOT NULL DEFAULT 3 CHECK (max_attempts BETWEEN 1 AND 100),
    description text NOT NULL DEFAULT '',
    -- 'x:high' is the Redis list of the high band of queue 'x'.
    CHECK (name ~ '^[a-z0-9][a-z0-9:_-]*$' AND name !~ ':(high|low)$')
);

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT queue_new_id(),
    queue_name varchar(100) NOT NULL REFERENCES job_queues (name),
    status varchar(20) NOT NULL DEFAULT 'queued' CHECK (
        status IN ('queued', 'migrated_to_redis', 'running', 'completed', 'failed', 'retry_scheduled', 'cancelled')
    ),
    priority integer NOT NULL DEFAULT 100 CHECK (priority BETWEEN 0 AND 1000),
    payload jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(payload) = 'object' AND pg_column_size(payload) <= 32768),
    attempt_count integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3,
    run_at timestamptz NOT NULL DEFAULT now(),
    started timestamptz,
    completed timestamptz,
    failed timestamptz,
    last_error_message text,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    -- added
    gen bigint NOT NULL DEFAULT 0,
    worker_id uuid,
    lease_expires timestamptz,
    crash_count integer NOT NULL DEFAULT 0,
    dedupe_key varchar(200),
    tenant_id uuid,
    due boolean NOT NULL DEFAULT true
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

COMMENT ON COLUMN jobs.gen IS 'Fencing token: one more at every claim, retry, reclaim, release and cancel.';
COMMENT ON COLUMN jobs.lease_expires IS 'Handed off: looked for in Redis after this. Running: reclaimed after this.';
COMMENT ON COLUMN jobs.crash_count IS 'How often a process died with this job in hand.';
COMMENT ON COLUMN jobs.due IS 'False: run_at lies ahead and the row is kept out of the index of ready rows until then.';

CREATE INDEX jobs_ready ON jobs (queue_name, priority, created, id) WHERE status IN ('queued', 'retry_scheduled') AND due;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE status IN ('queued', 'retry_scheduled') AND NOT due;
CREATE INDEX jobs_handed_off ON jobs (lease_expires) WHERE status = 'migrated_to_redis';
CREATE INDEX jobs_running ON jobs (worker_id) WHERE status = 'running';
CREATE INDEX jobs_failed ON jobs (failed) WHERE status = 'failed';
CREATE UNIQUE INDEX jobs_dedupe ON jobs (queue_name, dedupe_key)
WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'retry_scheduled', 'migrated_to_redis', 'running');

-- What no client may do, in whatever language: leave a final state (but for a replay that says so), or lower the fence.
CREATE FUNCTION queue_guard_jobs() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.gen < OLD.gen THEN
        RAISE EXCEPTION 'jobs.gen may not decrease' USING ERRCODE = 'check_violation';
    END IF;
    IF current_setting('penguinmails.queue_replay', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'job is already %; only a replay may change that', OLD.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER jobs_guard BEFORE UPDATE ON jobs
FOR EACH ROW
WHEN (
    NEW.gen < OLD.gen
    OR (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status IS DISTINCT FROM OLD.status)
)
EXECUTE FUNCTION queue_guard_jobs();

CREATE TABLE job_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    status varchar(20) NOT NULL CHECK (status IN ('attempting', 'success', 'retry', 'failed')),
    log_message text,
    attempt_number integer NOT NULL,
    started timestamptz,
    finished timestamptz,
    duration interval,
    created timestamptz NOT NULL DEFAULT now(),
    -- added
    gen bigint NOT NULL,
    queue_name varchar(100) NOT NULL,
    waited interval,
    -- One end for each time a job was taken, whoever reports it.
    UNIQUE (job_id, gen)
);

CREATE INDEX job_logs_finished ON job_logs USING brin (finished) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE analytics_jobs (
    id uuid PRIMARY KEY DEFAULT queue_new_id(),
    job_type varchar(100) NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'queued',
    payload jsonb NOT NULL DEFAULT '{}',
    priority integer NOT NULL DEFAULT 100,
    queued timestamptz NOT NULL DEFAULT now(),
    processed timestamptz,
    error_message text,
    created timestamptz NOT NULL DEFAULT now()
);

-- Everything below is added.

-- One lease a process, renewed as a whole: no write a job to stay alive.
CREATE TABLE workers (
    id uuid PRIMARY KEY,
    kind varchar(20) NOT NULL CHECK (kind IN ('worker', 'relay', 'reaper')),
    started timestamptz NOT NULL DEFAULT now(),
    renewed timestamptz NOT NULL DEFAULT now(),
    lease_expires timestamptz NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    slots integer NOT NULL DEFAULT 0,
    busy integer NOT NULL DEFAULT 0,
    queue_names varchar(100) [] NOT NULL DEFAULT '{}'
);

CREATE TABLE queue_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action varchar(20) NOT NULL,
    job_filter jsonb NOT NULL,
    reason text NOT NULL,
    jobs_changed integer NOT NULL
);

-- What Redis looked like when it was last reconciled: a new identity or epoch means that hand-offs may be lost.
CREATE TABLE queue_fast_lane (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch text NOT NULL,
    reconciled timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE queue_probes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    probed_at timestamptz NOT NULL,
    waiting_jobs bigint NOT NULL,
    running_jobs bigint NOT NULL,
    oldest_ready_seconds double precision NOT NULL,
    finished_5_minutes bigint NOT NULL,
    failed_5_minutes bigint NOT NULL,
    dead_letters bigint NOT NULL,
    live_workers integer NOT NULL,
    redis_memory_bytes bigint,
    redis_evicted_keys bigint,
    snapshot jsonb NOT NULL
);

CREATE INDEX queue_probes_probed_at ON queue_probes (probed_at);
