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

-- name: old_items
-- Items of the ledger that were taken in before a time and whose message is here no more, by month.
SELECT
    date_trunc('month', items.created AT TIME ZONE 'UTC')::date AS month,
    sum(pg_column_size(items.*))::bigint AS size_bytes
FROM mail_intake AS items
WHERE items.created < %(before)s
  AND NOT EXISTS (
      SELECT
      FROM email_messages AS messages
      WHERE messages.tenant_id = items.tenant_id
        AND messages.id = items.message_id
  )
GROUP BY 1
ORDER BY 1;

-- name: forget_old_items
-- A page of one month.
DELETE FROM mail_intake
WHERE (tenant_id, id) IN (
    SELECT items.tenant_id, items.id
    FROM mail_intake AS items
    WHERE items.created >= %(month)s::date::timestamp AT TIME ZONE 'UTC'
      AND items.created < (%(month)s::date + interval '1 month') AT TIME ZONE 'UTC'
      AND NOT EXISTS (
          SELECT
          FROM email_messages AS messages
          WHERE messages.tenant_id = items.tenant_id
            AND messages.id = items.message_id
      )
    LIMIT %(limit)s
);
