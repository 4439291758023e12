-- What the build holds, in the terms of sql/postgresql/reconciliation.sql.

-- name: events
SELECT
    CAST(tenant_id AS VARCHAR) AS tenant_id,
    CAST(occurred_at AS DATE) AS day,
    COUNT(*) AS rows,
    BIT_XOR(CAST('0x' || RIGHT(CAST(event_id AS VARCHAR), 12) AS BIGINT)) AS checksum
FROM email_events
WHERE
    ($from_time IS NULL OR occurred_at >= CAST($from_time AS TIMESTAMP))
    AND ($to_time IS NULL OR occurred_at < CAST($to_time AS TIMESTAMP))
GROUP BY ALL;
