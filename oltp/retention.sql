-- Taking old rows out of the growing tables. {partition} and {table} are names, put in by retention.py.

-- name: rows_not_extracted
-- Rows that the snapshot of the last extraction does not see.
SELECT count(*)
FROM {partition}
WHERE xid >= pg_snapshot_xmin(%(extracted)s::pg_snapshot)
  AND NOT pg_visible_in_snapshot(xid, %(extracted)s::pg_snapshot);

-- name: messages_not_stored
-- Messages whose body the content tier has not taken, or that still has a body here.
SELECT count(*)
FROM {partition} AS messages
WHERE EXISTS (
    SELECT
    FROM email_message_bodies AS bodies
    WHERE bodies.tenant_id = messages.tenant_id
      AND bodies.message_id = messages.id
);

-- name: audit_events_kept_for_law
SELECT count(*)
FROM {partition}
WHERE retention_category <> 'standard';

-- name: lock
LOCK TABLE ONLY {partition} IN ACCESS EXCLUSIVE MODE;

-- name: detach
ALTER TABLE {table} DETACH PARTITION {partition};

-- name: drop
DROP TABLE {partition};

-- name: snapshot_is_one
SELECT %(extracted)s::pg_snapshot;
