-- What the operational database itself says, at the very snapshot that the marts were read up to.

-- name: events
-- Number and checksum of the events of each tenant and day. The checksum takes the last 48 bits of the ids, which are random.
-- date_bin() because it only divides: a date of each row, or a text of each id, takes twice as long over millions.
WITH tenant_days AS (
    SELECT
        tenant_id,
        date_bin(
            '1 day',
            least(greatest(occurred_at, '0001-01-01 00:00:00+00'), '9999-12-31 00:00:00+00'),
            '0001-01-01 00:00:00+00'
        ) AS begins_at,
        count(*) AS rows,
        bit_xor({last_48_bits_of_id}) AS checksum
    FROM email_events
    WHERE
        pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)
        AND (%(from_time)s::timestamptz IS NULL OR occurred_at >= %(from_time)s::timestamptz)
        AND (%(to_time)s::timestamptz IS NULL OR occurred_at < %(to_time)s::timestamptz)
    GROUP BY 1, 2
)

SELECT
    tenant_id::text AS tenant_id,
    (begins_at AT TIME ZONE 'UTC')::date AS day,
    rows,
    checksum
FROM tenant_days
-- Events outlive their tenant: no foreign key takes them with it. The marts have let go of them.
WHERE EXISTS (SELECT FROM tenants WHERE tenants.id = tenant_days.tenant_id);
