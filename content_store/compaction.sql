-- Compaction: live frames move into new packs, old packs are condemned.

-- name: packs_to_compact
-- Packs with many dead bytes, packs holding bytes of messages erased long enough ago, and small packs with many siblings.
WITH small AS (
    SELECT tenant_id, retention_class, ingest_month
    FROM content_packs
    WHERE state = 'live'
      AND size_bytes < %(small_bytes)s
    GROUP BY tenant_id, retention_class, ingest_month
    HAVING count(*) >= %(siblings)s
), erased AS (
    SELECT DISTINCT pack_id
    FROM content_objects
    WHERE erased_at <= %(erased_before)s
      AND pack_id IS NOT NULL
)
SELECT
    pack.pack_id, pack.tenant_id, pack.retention_class, pack.ingest_month, pack.object_key, pack.size_bytes, pack.sha256,
    pack.dead_bytes, pack.messages - pack.dead_messages AS live_messages,
    CASE
        WHEN erased.pack_id IS NOT NULL THEN 'erased bytes'
        WHEN pack.dead_bytes >= %(dead_share)s * pack.size_bytes THEN 'dead bytes'
        ELSE 'small packs'
    END AS reason
FROM content_packs AS pack
LEFT JOIN erased USING (pack_id)
LEFT JOIN small USING (tenant_id, retention_class, ingest_month)
WHERE pack.state = 'live'
  AND (
      erased.pack_id IS NOT NULL
      OR pack.dead_bytes >= %(dead_share)s * pack.size_bytes
      OR (small.tenant_id IS NOT NULL AND pack.size_bytes < %(small_bytes)s)
  )
ORDER BY pack.tenant_id, pack.retention_class, pack.ingest_month, pack.pack_id;

-- name: members
-- What the index says of the messages in a pack's directory, wherever it has them now.
SELECT storage_key, pack_id, frame_offset, erased_at IS NOT NULL AS erased
FROM content_objects
WHERE storage_key = ANY(%(storage_keys)s);

-- name: condemn_old_packs
UPDATE content_packs
SET state = 'condemned',
    delete_after = %(delete_after)s
WHERE pack_id = ANY(%(pack_ids)s)
  AND state = 'live';

-- name: live_members
SELECT count(*)
FROM content_objects
WHERE pack_id = ANY(%(pack_ids)s)
  AND erased_at IS NULL;

-- name: move_members
-- A message erased since its frame was copied moves too: its bytes are in the new pack now.
WITH moved AS (
    UPDATE content_objects AS object
    SET pack_id = %(pack_id)s,
        frame_offset = place.frame_offset
    FROM unnest(%(storage_keys)s::text[], %(offsets)s::bigint[]) AS place (storage_key, frame_offset)
    WHERE object.storage_key = place.storage_key
      AND object.pack_id = ANY(%(old_pack_ids)s)
    RETURNING object.erased_at, object.compressed_size_bytes
)
UPDATE content_packs
SET dead_messages = %(messages)s - counted.messages,
    dead_bytes = %(sealed_bytes)s - counted.size_bytes
FROM (
    SELECT count(*) AS messages, coalesce(sum(compressed_size_bytes), 0) AS size_bytes
    FROM moved
    WHERE erased_at IS NULL
) AS counted
WHERE pack_id = %(pack_id)s;
