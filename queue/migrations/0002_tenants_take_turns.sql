-- Per tenant, so that tenants can take turns; jobs without one count as one tenant.
DROP INDEX jobs_ready;

CREATE INDEX jobs_ready ON jobs (
    queue_name, (coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')), priority, created, id
) WHERE status IN ('queued', 'retry_scheduled') AND due;

-- How fast the jobs of a tenant may start on a queue: a bucket of tokens, one a job.
CREATE TABLE queue_limits (
    queue_name varchar(100) NOT NULL REFERENCES job_queues (name),
    tenant_id uuid NOT NULL,
    jobs_per_second double precision NOT NULL CHECK (jobs_per_second > 0),
    burst integer NOT NULL CHECK (burst >= 1),
    tokens double precision NOT NULL,
    refilled timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue_name, tenant_id)
);
