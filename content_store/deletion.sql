-- Deleting, keeping and erasing. Whoever changes what is there of a tenant holds that tenant's lock first, so that a
-- predicate read inside the transaction is still true when it commits. Precedence: legal hold, erasure, label, policy.

-- name: lock_tenant
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant_id)s::text, 7364285190));

-- name: destroy
-- Drops data keys: effective at commit, for every copy of the bytes. Each predicate is asked again here, under the lock.
-- An attachment that no other message uses goes with the last one that did.
WITH named AS (
    SELECT object.storage_key, object.pack_id, object.compressed_size_bytes
    FROM content_objects AS object
    LEFT JOIN content_packs AS pack USING (pack_id)
    LEFT JOIN retention_policies AS policy
        ON policy.tenant_id = object.tenant_id AND policy.retention_class = pack.retention_class
    LEFT JOIN retention_labels AS label
        ON label.tenant_id = object.tenant_id AND label.label = object.retention_label
    LEFT JOIN unnest(%(classes)s::text[], %(default_keep_days)s::integer[]) AS class (name, keep_days)
        ON class.name = pack.retention_class
    WHERE object.storage_key = ANY(%(storage_keys)s)
      AND object.tenant_id = %(tenant_id)s
      AND object.erased_at IS NULL
      AND NOT is_held(object.tenant_id, object.storage_key)
      AND CASE %(reason)s
          WHEN 'retention' THEN
              object.form <> 'attachment'
              AND object.created_at + make_interval(
                  days => coalesce(label.keep_days, policy.keep_days, class.keep_days)
              ) <= %(now)s
          WHEN 'deleted' THEN object.deleted_at <= %(deleted_before)s
          WHEN 'erasure' THEN object.form <> 'attachment'
          WHEN 'expired_attachment' THEN
              object.form = 'attachment'
              AND policy.attachment_keep_days IS NOT NULL
              AND is_expired_attachment(object.storage_key, policy.attachment_keep_days, %(now)s)
          ELSE false
      END
), unused AS (
    SELECT DISTINCT object.storage_key, object.pack_id, object.compressed_size_bytes
    FROM named
    JOIN attachment_uses AS link ON link.message_key = named.storage_key
    JOIN content_objects AS object ON object.storage_key = link.attachment_key
    WHERE object.erased_at IS NULL
      AND NOT EXISTS (
          SELECT
          FROM attachment_uses AS other_link
          JOIN content_objects AS other ON other.storage_key = other_link.message_key
          WHERE other_link.attachment_key = object.storage_key
            AND other.erased_at IS NULL
            AND other.storage_key NOT IN (SELECT storage_key FROM named)
      )
), chosen AS (
    SELECT storage_key, pack_id, compressed_size_bytes FROM named
    UNION ALL
    SELECT storage_key, pack_id, compressed_size_bytes FROM unused
), destroyed AS (
    UPDATE content_objects AS object
    SET wrapped_key = NULL,
        content_hash = NULL,
        last_accessed_at = NULL,
        erased_at = %(now)s,
        erased_because = %(reason)s
    FROM chosen
    WHERE object.storage_key = chosen.storage_key
    RETURNING object.storage_key, object.raw_size_bytes, object.form
), no_longer_shared AS (
    DELETE FROM shared_attachments
    USING chosen
    WHERE shared_attachments.storage_key = chosen.storage_key
), attachments_gone AS (
    DELETE FROM attachments
    USING chosen
    WHERE attachments.parent_storage_key = chosen.storage_key
), attachments_removed AS (
    UPDATE attachments
    SET removed_at = %(now)s
    FROM named
    WHERE attachments.stored_as = named.storage_key
), broken_references_gone AS (
    DELETE FROM broken_references
    USING chosen
    WHERE broken_references.storage_key = chosen.storage_key
), counted AS (
    UPDATE content_packs AS pack
    SET dead_messages = pack.dead_messages + dead.messages,
        dead_bytes = pack.dead_bytes + dead.size_bytes
    FROM (
        SELECT pack_id, count(*) AS messages, sum(compressed_size_bytes) AS size_bytes
        FROM chosen
        GROUP BY pack_id
    ) AS dead
    WHERE pack.pack_id = dead.pack_id
)
SELECT raw_size_bytes, form
FROM destroyed;

-- name: soft_delete
UPDATE content_objects
SET deleted_at = %(now)s
WHERE storage_key = ANY(%(storage_keys)s)
  AND tenant_id = %(tenant_id)s
  AND deleted_at IS NULL
  AND erased_at IS NULL
  AND form <> 'attachment'
  AND NOT is_held(tenant_id, storage_key)
RETURNING storage_key;

-- name: undelete
UPDATE content_objects
SET deleted_at = NULL
WHERE storage_key = ANY(%(storage_keys)s)
  AND tenant_id = %(tenant_id)s
  AND deleted_at IS NOT NULL
  AND erased_at IS NULL
RETURNING storage_key;

-- name: place_hold
INSERT INTO content_holds (hold_id, tenant_id, matter, whole_tenant, placed_at)
VALUES (%(hold_id)s, %(tenant_id)s, %(matter)s, %(whole_tenant)s, %(now)s);

-- name: hold_messages
-- Of the index, and of what still waits to be handed over.
INSERT INTO content_hold_items (hold_id, storage_key, tenant_id)
SELECT %(hold_id)s, named, %(tenant_id)s
FROM unnest(%(storage_keys)s::text[]) AS named
LEFT JOIN content_objects AS object ON object.storage_key = named
WHERE (object.tenant_id = %(tenant_id)s OR (object.storage_key IS NULL AND named = ANY(%(waiting)s::text[])))
  AND object.erased_at IS NULL
  AND object.form IS DISTINCT FROM 'attachment'
RETURNING storage_key;

-- name: hold_tenant_of
SELECT tenant_id
FROM content_holds
WHERE hold_id = %(hold_id)s;

-- name: release_hold
UPDATE content_holds
SET released_at = %(now)s
WHERE hold_id = %(hold_id)s
  AND released_at IS NULL;

-- name: holds
SELECT hold.hold_id, hold.tenant_id, hold.matter, hold.whole_tenant, hold.placed_at, hold.released_at, count(item.storage_key)
FROM content_holds AS hold
LEFT JOIN content_hold_items AS item USING (hold_id)
GROUP BY hold.hold_id
ORDER BY hold.placed_at, hold.hold_id;

-- name: set_policy
INSERT INTO retention_policies (tenant_id, retention_class, keep_days, attachment_keep_days, changed_at)
VALUES (%(tenant_id)s, %(retention_class)s, %(keep_days)s, %(attachment_keep_days)s, %(now)s)
ON CONFLICT (tenant_id, retention_class) DO UPDATE
SET keep_days = excluded.keep_days,
    attachment_keep_days = excluded.attachment_keep_days,
    changed_at = excluded.changed_at;

-- name: set_label
INSERT INTO retention_labels (tenant_id, label, keep_days, changed_at)
VALUES (%(tenant_id)s, %(label)s, %(keep_days)s, %(now)s)
ON CONFLICT (tenant_id, label) DO UPDATE
SET keep_days = excluded.keep_days,
    changed_at = excluded.changed_at;

-- name: label_days
SELECT keep_days
FROM retention_labels
WHERE tenant_id = %(tenant_id)s
  AND label = %(label)s;

-- name: labels
SELECT label.tenant_id, label.label, label.keep_days, label.changed_at,
    count(object.storage_key) FILTER (WHERE object.erased_at IS NULL) AS messages
FROM retention_labels AS label
LEFT JOIN content_objects AS object ON object.tenant_id = label.tenant_id AND object.retention_label = label.label
GROUP BY label.tenant_id, label.label
ORDER BY label.tenant_id, label.label;

-- name: label_messages
-- Without a label the policy of the class holds again.
UPDATE content_objects
SET retention_label = %(label)s
WHERE storage_key = ANY(%(storage_keys)s)
  AND tenant_id = %(tenant_id)s
  AND erased_at IS NULL
  AND form <> 'attachment'
RETURNING storage_key;

-- name: packs_of_label
SELECT DISTINCT pack_id
FROM content_objects
WHERE tenant_id = %(tenant_id)s
  AND retention_label = %(label)s
  AND erased_at IS NULL
ORDER BY pack_id;

-- name: packs_of_messages
SELECT DISTINCT pack_id
FROM content_objects
WHERE storage_key = ANY(%(storage_keys)s)
  AND erased_at IS NULL
ORDER BY pack_id;

-- name: packs_of_class
SELECT pack_id
FROM content_packs
WHERE tenant_id = %(tenant_id)s
  AND retention_class = %(retention_class)s
  AND state = 'live'
ORDER BY pack_id;

-- name: align_expiry
WITH due AS (
    SELECT object.storage_key, object.created_at + make_interval(days => coalesce(
        label.keep_days, CASE WHEN object.form = 'attachment' THEN policy.attachment_keep_days END, policy.keep_days,
        class.keep_days
    )) AS expires_at
    FROM content_packs AS pack
    JOIN content_objects AS object USING (pack_id)
    JOIN unnest(%(classes)s::text[], %(default_keep_days)s::integer[]) AS class (name, keep_days)
        ON class.name = pack.retention_class
    LEFT JOIN retention_policies AS policy
        ON policy.tenant_id = pack.tenant_id AND policy.retention_class = pack.retention_class
    LEFT JOIN retention_labels AS label
        ON label.tenant_id = object.tenant_id AND label.label = object.retention_label
    WHERE pack.pack_id = %(pack_id)s
      AND object.erased_at IS NULL
)
UPDATE content_objects AS object
SET expires_at = due.expires_at
FROM due
WHERE object.storage_key = due.storage_key
  AND object.expires_at <> due.expires_at;

-- name: policies
SELECT tenant_id, retention_class, keep_days, attachment_keep_days, changed_at
FROM retention_policies
ORDER BY tenant_id, retention_class;

-- name: plan_retention
-- What is past its time, by tenant, class and month of intake. Packs are few, so whole months are left out cheaply.
WITH shortest_label AS (
    SELECT tenant_id, min(keep_days) AS keep_days
    FROM retention_labels
    GROUP BY tenant_id
), due AS (
    SELECT pack.pack_id, pack.tenant_id, pack.retention_class, pack.ingest_month,
        coalesce(policy.keep_days, class.keep_days) AS keep_days
    FROM content_packs AS pack
    JOIN unnest(%(classes)s::text[], %(default_keep_days)s::integer[]) AS class (name, keep_days)
        ON class.name = pack.retention_class
    LEFT JOIN retention_policies AS policy USING (tenant_id, retention_class)
    LEFT JOIN shortest_label USING (tenant_id)
    WHERE pack.state = 'live'
      AND pack.ingest_month + make_interval(
          days => least(coalesce(policy.keep_days, class.keep_days), shortest_label.keep_days)
      ) <= %(now)s
)
SELECT due.tenant_id, due.retention_class, due.ingest_month, count(*) AS messages,
    sum(object.raw_size_bytes)::bigint AS raw_bytes, sum(object.compressed_size_bytes)::bigint AS stored_bytes,
    count(*) FILTER (WHERE is_held(object.tenant_id, object.storage_key)) AS held
FROM due
JOIN content_objects AS object USING (pack_id)
LEFT JOIN retention_labels AS label ON label.tenant_id = object.tenant_id AND label.label = object.retention_label
WHERE object.erased_at IS NULL
  AND object.form <> 'attachment'
  AND object.created_at + make_interval(days => coalesce(label.keep_days, due.keep_days)) <= %(now)s
GROUP BY due.tenant_id, due.retention_class, due.ingest_month
ORDER BY due.tenant_id, due.retention_class, due.ingest_month;

-- name: plan_purge
SELECT tenant_id, count(*) AS messages, sum(raw_size_bytes)::bigint AS raw_bytes,
    sum(compressed_size_bytes)::bigint AS stored_bytes,
    count(*) FILTER (WHERE is_held(tenant_id, storage_key)) AS held
FROM content_objects
WHERE deleted_at <= %(deleted_before)s
  AND erased_at IS NULL
GROUP BY tenant_id
ORDER BY tenant_id;

-- name: plan_attachments
-- Attachments past the time of their own that a policy gives them.
SELECT shared.tenant_id, shared.retention_class, shared.ingest_month, count(*) AS attachments,
    sum(object.compressed_size_bytes)::bigint AS stored_bytes,
    count(*) FILTER (WHERE is_held(object.tenant_id, object.storage_key)) AS held
FROM shared_attachments AS shared
JOIN retention_policies AS policy USING (tenant_id, retention_class)
JOIN content_objects AS object USING (storage_key)
WHERE shared.ingest_month + make_interval(days => policy.attachment_keep_days) <= %(now)s
  AND is_expired_attachment(shared.storage_key, policy.attachment_keep_days, %(now)s)
GROUP BY shared.tenant_id, shared.retention_class, shared.ingest_month
ORDER BY shared.tenant_id, shared.retention_class, shared.ingest_month;

-- name: page_of_expired_attachments
SELECT shared.storage_key
FROM shared_attachments AS shared
JOIN retention_policies AS policy USING (tenant_id, retention_class)
WHERE shared.tenant_id = %(tenant_id)s
  AND shared.ingest_month + make_interval(days => policy.attachment_keep_days) <= %(now)s
  AND is_expired_attachment(shared.storage_key, policy.attachment_keep_days, %(now)s)
  AND shared.storage_key > %(after)s
ORDER BY shared.storage_key
LIMIT %(limit)s;

-- name: page_past_retention
WITH shortest_label AS (
    SELECT min(keep_days) AS keep_days
    FROM retention_labels
    WHERE tenant_id = %(tenant_id)s
)
SELECT object.storage_key
FROM content_packs AS pack
JOIN unnest(%(classes)s::text[], %(default_keep_days)s::integer[]) AS class (name, keep_days)
    ON class.name = pack.retention_class
LEFT JOIN retention_policies AS policy USING (tenant_id, retention_class)
CROSS JOIN shortest_label
JOIN content_objects AS object USING (pack_id)
LEFT JOIN retention_labels AS label ON label.tenant_id = object.tenant_id AND label.label = object.retention_label
WHERE pack.state = 'live'
  AND pack.tenant_id = %(tenant_id)s
  AND pack.ingest_month + make_interval(
      days => least(coalesce(policy.keep_days, class.keep_days), shortest_label.keep_days)
  ) <= %(now)s
  AND object.created_at + make_interval(days => coalesce(label.keep_days, policy.keep_days, class.keep_days)) <= %(now)s
  AND object.erased_at IS NULL
  AND object.form <> 'attachment'
  AND object.storage_key > %(after)s
ORDER BY object.storage_key
LIMIT %(limit)s;

-- name: page_of_deleted
SELECT storage_key
FROM content_objects
WHERE deleted_at <= %(deleted_before)s
  AND erased_at IS NULL
  AND tenant_id = %(tenant_id)s
  AND storage_key > %(after)s
ORDER BY storage_key
LIMIT %(limit)s;

-- name: request_erasure
INSERT INTO erasure_requests (request_id, tenant_id, scope, requested_at)
VALUES (%(request_id)s, %(tenant_id)s, %(scope)s, %(now)s);

-- name: name_messages
INSERT INTO erasure_items (request_id, storage_key, tenant_id)
SELECT %(request_id)s, named, %(tenant_id)s
FROM unnest(%(storage_keys)s::text[]) AS named
WHERE NOT EXISTS (SELECT FROM content_objects WHERE storage_key = named AND form = 'attachment')
ON CONFLICT DO NOTHING;

-- name: leave_tombstones
-- A message that still waits to be handed over is erased before it comes: the hand-over finds it here and stores nothing.
INSERT INTO content_objects (
    storage_key, tenant_id, raw_size_bytes, created_at, expires_at, compression_algorithm, compressed_size_bytes,
    dictionary_id, key_generation, erased_at, erased_because
)
SELECT named, %(tenant_id)s, 0, %(requested_at)s, %(requested_at)s, 'none', 0, 0, 0, %(now)s, 'erasure'
FROM unnest(%(storage_keys)s::text[]) AS named
WHERE NOT is_held(%(tenant_id)s, named)
ON CONFLICT (storage_key) DO NOTHING;

-- name: erased_of
SELECT storage_key
FROM content_objects
WHERE storage_key = ANY(%(storage_keys)s)
  AND tenant_id = %(tenant_id)s
  AND erased_at IS NOT NULL;

-- name: absent_of
-- Those the index knows nothing of: they wait to be handed over, and a hold keeps them from being erased there.
SELECT named
FROM unnest(%(storage_keys)s::text[]) AS named
WHERE NOT EXISTS (SELECT FROM content_objects WHERE storage_key = named);

-- name: open_erasures
SELECT request_id, tenant_id, scope, requested_at, effective_at
FROM erasure_requests
WHERE gone_at IS NULL
ORDER BY requested_at, request_id;

-- name: page_of_named
SELECT storage_key
FROM erasure_items
WHERE request_id = %(request_id)s
  AND storage_key > %(after)s
ORDER BY storage_key
LIMIT %(limit)s;

-- name: page_of_tenant
SELECT storage_key
FROM content_objects
WHERE tenant_id = %(tenant_id)s
  AND erased_at IS NULL
  AND form <> 'attachment'
  AND created_at <= %(requested_at)s
  AND storage_key > %(after)s
ORDER BY storage_key
LIMIT %(limit)s;

-- name: progress_of_named
-- Bytes of an attachment that only erased messages used are theirs.
SELECT
    count(*) AS named,
    count(*) FILTER (WHERE object.erased_at IS NULL) AS left_over,
    count(*) FILTER (
        WHERE object.pack_id IS NOT NULL
        OR EXISTS (
            SELECT
            FROM attachment_uses AS link
            JOIN content_objects AS attachment ON attachment.storage_key = link.attachment_key
            WHERE link.message_key = item.storage_key
              AND attachment.erased_at IS NOT NULL
              AND attachment.pack_id IS NOT NULL
        )
    ) AS bytes_left
FROM erasure_items AS item
LEFT JOIN content_objects AS object USING (storage_key)
WHERE item.request_id = %(request_id)s;

-- name: progress_of_tenant
SELECT
    count(*) FILTER (WHERE form <> 'attachment') AS named,
    count(*) FILTER (WHERE form <> 'attachment' AND erased_at IS NULL) AS left_over,
    count(*) FILTER (WHERE pack_id IS NOT NULL AND (form <> 'attachment' OR erased_at IS NOT NULL)) AS bytes_left
FROM content_objects
WHERE tenant_id = %(tenant_id)s
  AND created_at <= %(requested_at)s;

-- name: erasure_is_effective
UPDATE erasure_requests
SET effective_at = %(now)s
WHERE request_id = %(request_id)s
  AND effective_at IS NULL;

-- name: erasure_is_complete
UPDATE erasure_requests
SET gone_at = %(now)s
WHERE request_id = %(request_id)s
  AND gone_at IS NULL;

-- name: forget_items
DELETE FROM erasure_items
WHERE request_id = %(request_id)s;

-- name: lock_certificates
SELECT pg_advisory_xact_lock(7364285190002);

-- name: newest_certificate
SELECT sequence, hash
FROM erasure_certificates
ORDER BY sequence DESC
LIMIT 1;

-- name: add_certificate
INSERT INTO erasure_certificates (sequence, tenant_id, request_id, statement, previous_hash, hash)
VALUES (%(sequence)s, %(tenant_id)s, %(request_id)s, %(statement)s, %(previous_hash)s, %(hash)s);

-- name: certificates
SELECT sequence, statement, previous_hash, hash
FROM erasure_certificates
ORDER BY sequence;

-- name: suppress
INSERT INTO suppressions (tenant_id, address_hash, created_at)
VALUES (%(tenant_id)s, %(address_hash)s, %(now)s)
ON CONFLICT DO NOTHING;

-- name: is_suppressed
SELECT EXISTS (
    SELECT FROM suppressions WHERE tenant_id = %(tenant_id)s AND address_hash = %(address_hash)s
);

-- name: drop_tenant_keys
-- Only when no message, no pack, no hold of the tenant is left that needs them. Asked under the tenant's lock.
UPDATE tenant_keys
SET dropped_at = %(now)s,
    dropped_by = %(request_id)s
WHERE tenant_id = %(tenant_id)s
  AND generation > 0
  AND dropped_at IS NULL
  AND NOT EXISTS (SELECT FROM content_packs WHERE tenant_id = %(tenant_id)s AND state IN ('building', 'live'))
  AND NOT EXISTS (
      SELECT
      FROM content_packs
      JOIN content_objects USING (pack_id)
      WHERE content_packs.tenant_id = %(tenant_id)s AND content_objects.erased_at IS NULL
  )
  AND NOT EXISTS (SELECT FROM content_holds WHERE tenant_id = %(tenant_id)s AND released_at IS NULL)
RETURNING generation;

-- name: condemn_dictionaries
UPDATE dictionaries
SET state = 'condemned'
WHERE tenant_id = %(tenant_id)s;

-- name: keys_to_destroy
SELECT tenant_id, generation, dropped_by
FROM tenant_keys
WHERE dropped_at IS NOT NULL
  AND destroyed_at IS NULL
ORDER BY tenant_id, generation;

-- name: key_is_destroyed
UPDATE tenant_keys
SET destroyed_at = %(now)s
WHERE tenant_id = %(tenant_id)s
  AND generation = %(generation)s
  AND destroyed_at IS NULL;

-- name: plan_of_named
SELECT
    count(*) FILTER (WHERE object.erased_at IS NULL) AS stored,
    count(*) FILTER (WHERE object.erased_at IS NULL AND is_held(object.tenant_id, object.storage_key)) AS held
FROM content_objects AS object
WHERE object.storage_key = ANY(%(storage_keys)s)
  AND object.form <> 'attachment'
  AND object.tenant_id = %(tenant_id)s;

-- name: plan_of_tenant
SELECT
    count(*) AS stored,
    count(*) FILTER (WHERE is_held(object.tenant_id, object.storage_key)) AS held
FROM content_packs AS pack
JOIN content_objects AS object USING (pack_id)
WHERE pack.tenant_id = %(tenant_id)s
  AND object.form <> 'attachment'
  AND object.erased_at IS NULL;
