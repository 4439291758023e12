-- How the operational database is read: everything in one transaction, so that all tables show the same moment.

-- name: begin
-- First statement of the transaction.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: become
-- A role that reads across tenants and can do nothing else (sources.py says which).
SET LOCAL ROLE {role};

-- name: no_statement_timeout
-- A first read of everything may take longer than what suits the application.
SET LOCAL statement_timeout = 0;

-- name: exclusive
-- Two machines that share one landing zone must not both write its next batch.
SELECT pg_try_advisory_xact_lock(7364285190002);

-- name: mark
-- Which moment of which database this transaction sees.
SELECT
    pg_current_snapshot()::text AS snapshot,
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    CASE
        WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    END AS timeline,
    transaction_timestamp() AS as_of;

-- name: remember_previous
-- A setting of this transaction, so that the texts below stay constant and every value is bound.
SELECT set_config('penguinmails.previous_snapshot', $1, true);

-- name: snapshot_bounds
-- xmax of the previous snapshot and of this one; the previous can never be ahead in the same history.
SELECT
    pg_snapshot_xmax(current_setting('penguinmails.previous_snapshot')::pg_snapshot)::text::bigint AS previous_xmax,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS current_xmax;

-- name: whole
-- A table as this transaction sees it. Names in braces come from sources.py.
SELECT {columns} FROM {table} WHERE {only} ORDER BY {key};

-- name: first
-- The first read of a table that is followed by its changes.
SELECT {columns} FROM {table};

-- name: changes
-- Rows that the previous snapshot did not see: those of transactions that began after it, and those of transactions that
-- were still running then. Nothing is missed and nothing comes twice, however late a transaction commits.
SELECT {columns}
FROM {table}
WHERE
    xid >= pg_snapshot_xmin(current_setting('penguinmails.previous_snapshot')::pg_snapshot)
    AND NOT pg_visible_in_snapshot(xid, current_setting('penguinmails.previous_snapshot')::pg_snapshot);

-- name: changes_and_days
-- The same, and every row of some days besides, so that what was deleted there can be seen.
SELECT {columns}
FROM {table}
WHERE
    (
        xid >= pg_snapshot_xmin(current_setting('penguinmails.previous_snapshot')::pg_snapshot)
        AND NOT pg_visible_in_snapshot(xid, current_setting('penguinmails.previous_snapshot')::pg_snapshot)
    )
    OR (
        occurred_at >= current_setting('penguinmails.from_time')::timestamptz
        AND occurred_at < current_setting('penguinmails.to_time')::timestamptz
    );

-- name: remember_days
SELECT set_config('penguinmails.from_time', $1, true), set_config('penguinmails.to_time', $2, true);
