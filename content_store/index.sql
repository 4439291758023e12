-- Statements on the index. One statement a block; every list is paged by key.

-- name: newest_key_generation
-- Of mail. A generation that was dropped is never used again: a backup may still know it.
SELECT
    max(generation) FILTER (WHERE dropped_at IS NULL) AS in_use,
    max(generation) AS ever_used
FROM tenant_keys
WHERE tenant_id = %(tenant_id)s
  AND generation > 0;

-- name: record_key
-- Two writers at once make the same key, so the first row is right for both.
INSERT INTO tenant_keys (tenant_id, generation, check_value, created_at)
VALUES (%(tenant_id)s, %(generation)s, %(check_value)s, %(now)s)
ON CONFLICT DO NOTHING;

-- name: key_check_value
SELECT
    check_value,
    (
        SELECT min(in_use.generation)
        FROM tenant_keys AS in_use
        WHERE in_use.tenant_id = %(tenant_id)s AND in_use.generation > 0 AND in_use.dropped_at IS NULL
    ) AS first_generation,
    dropped_at IS NOT NULL AS dropped
FROM tenant_keys
WHERE tenant_id = %(tenant_id)s
  AND generation = %(generation)s;

-- name: objects_already_there
-- Of these messages, the ones the index has: stored by an earlier attempt, or erased since.
SELECT storage_key, content_hash, erased_at IS NOT NULL AS erased
FROM content_objects
WHERE storage_key = ANY(%(storage_keys)s::text[]);

-- name: record_pack
-- Before anything is sent to the object store: no object exists that the index does not know.
INSERT INTO content_packs (
    pack_id, tenant_id, retention_class, ingest_month, object_key, state, key_generation, dictionary_id, lease_until, created_at
)
VALUES (
    %(pack_id)s, %(tenant_id)s, %(retention_class)s, %(ingest_month)s, %(object_key)s, 'building', %(key_generation)s,
    %(dictionary_id)s, %(lease_until)s, %(now)s
);

-- name: pack_goes_live
-- Changes no row when the pack was taken from its builder meanwhile, or its key was dropped with all the tenant's mail.
UPDATE content_packs
SET state = 'live',
    size_bytes = %(size_bytes)s,
    sha256 = %(sha256)s,
    messages = %(messages)s,
    stored_at = %(now)s,
    verified_at = %(now)s
WHERE pack_id = %(pack_id)s
  AND state = 'building'
  AND EXISTS (
      SELECT
      FROM tenant_keys
      WHERE tenant_keys.tenant_id = content_packs.tenant_id
        AND tenant_keys.generation = content_packs.key_generation
        AND tenant_keys.dropped_at IS NULL
  );

-- name: make_staging
CREATE TEMPORARY TABLE staged_objects (
    storage_key varchar(500) COLLATE "C",
    raw_size_bytes bigint,
    created_at timestamptz,
    content_hash varchar(64),
    compressed_size_bytes bigint,
    frame_offset bigint,
    wrapped_key bytea,
    form varchar(20)
) ON COMMIT DROP;

-- name: fill_staging
COPY staged_objects (
    storage_key, raw_size_bytes, created_at, content_hash, compressed_size_bytes, frame_offset, wrapped_key, form
) FROM STDIN (FORMAT BINARY);

-- name: add_staged_objects
-- A message that another hand-over stored meanwhile keeps its first place; ours counts as dead in this pack. So does an
-- attachment: the frame that came second is a row without a key, so that the pack's directory stays accounted for.
WITH first_here AS (
    INSERT INTO shared_attachments (storage_key, tenant_id, retention_class, ingest_month, content_hash)
    SELECT storage_key, %(tenant_id)s, %(retention_class)s, %(ingest_month)s, content_hash
    FROM staged_objects
    WHERE form = 'attachment'
    ON CONFLICT DO NOTHING
    RETURNING storage_key
), staged AS (
    SELECT staged_objects.*, form = 'attachment' AND first_here.storage_key IS NULL AS duplicate
    FROM staged_objects
    LEFT JOIN first_here USING (storage_key)
), added AS (
    INSERT INTO content_objects (
        storage_key, tenant_id, raw_size_bytes, created_at, expires_at, content_hash, compression_algorithm,
        compressed_size_bytes, pack_id, frame_offset, dictionary_id, key_generation, wrapped_key, form, erased_at,
        erased_because
    )
    SELECT
        storage_key, %(tenant_id)s, raw_size_bytes, created_at, created_at + make_interval(days => coalesce(
            CASE WHEN form = 'attachment' THEN policy.attachment_keep_days END, policy.keep_days, %(keep_days)s
        )),
        CASE WHEN NOT duplicate THEN content_hash END, %(compression_algorithm)s, compressed_size_bytes, %(pack_id)s,
        frame_offset, %(dictionary_id)s, %(key_generation)s, CASE WHEN NOT duplicate THEN wrapped_key END, form,
        CASE WHEN duplicate THEN %(now)s::timestamptz END, CASE WHEN duplicate THEN 'duplicate' END
    FROM staged
    LEFT JOIN retention_policies AS policy
        ON policy.tenant_id = %(tenant_id)s AND policy.retention_class = %(retention_class)s
    ON CONFLICT (storage_key) DO NOTHING
    RETURNING compressed_size_bytes, erased_at
)
UPDATE content_packs
SET dead_messages = staged.messages - kept.messages,
    dead_bytes = staged.size_bytes - kept.size_bytes
FROM (SELECT count(*) AS messages, coalesce(sum(compressed_size_bytes), 0) AS size_bytes FROM staged_objects) AS staged,
    (
        SELECT count(*) AS messages, coalesce(sum(compressed_size_bytes), 0) AS size_bytes
        FROM added
        WHERE erased_at IS NULL
    ) AS kept
WHERE pack_id = %(pack_id)s
RETURNING kept.messages, kept.size_bytes;

-- name: attachments_already_there
SELECT content_hash
FROM shared_attachments
WHERE tenant_id = %(tenant_id)s
  AND retention_class = %(retention_class)s
  AND ingest_month = %(ingest_month)s
  AND content_hash = ANY(%(hashes)s);

-- name: link_attachments
-- Of the messages that this pack has brought; returns how many attachments they need and nobody has any more.
WITH wanted AS (
    SELECT use.message_key, use.part, shared.storage_key AS attachment_key
    FROM unnest(%(message_keys)s::text[], %(parts)s::smallint[], %(hashes)s::text[]) AS use (message_key, part, content_hash)
    JOIN content_objects AS message ON message.storage_key = use.message_key AND message.pack_id = %(pack_id)s
    LEFT JOIN shared_attachments AS shared
        ON shared.tenant_id = %(tenant_id)s
        AND shared.retention_class = %(retention_class)s
        AND shared.ingest_month = %(ingest_month)s
        AND shared.content_hash = use.content_hash
), linked AS (
    INSERT INTO attachment_uses (message_key, part, attachment_key, tenant_id)
    SELECT message_key, part, attachment_key, %(tenant_id)s
    FROM wanted
    WHERE attachment_key IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT count(*)
FROM wanted
WHERE attachment_key IS NULL;

-- name: condemn_pack
-- Only what is not live: a live pack is condemned by compaction alone, which moves its messages first.
UPDATE content_packs
SET state = 'condemned',
    delete_after = %(delete_after)s
WHERE pack_id = %(pack_id)s
  AND state = 'building';

-- name: condemn_abandoned_packs
UPDATE content_packs
SET state = 'condemned',
    delete_after = %(now)s
WHERE state = 'building'
  AND lease_until < %(now)s
RETURNING pack_id;

-- name: packs_to_delete
SELECT pack_id, object_key
FROM content_packs
WHERE state = 'condemned'
  AND delete_after <= %(now)s
  AND lease_until < %(now)s
  AND NOT EXISTS (
      SELECT FROM content_objects WHERE content_objects.pack_id = content_packs.pack_id AND erased_at IS NULL
  )
ORDER BY pack_id
LIMIT %(limit)s;

-- name: pack_is_deleted
-- With the object go the last bytes of the erased messages that were in it.
WITH deleted AS (
    UPDATE content_packs
    SET state = 'deleted',
        deleted_at = %(now)s
    WHERE pack_id = %(pack_id)s
      AND state = 'condemned'
    RETURNING pack_id
)
UPDATE content_objects
SET pack_id = NULL,
    frame_offset = NULL
FROM deleted
WHERE content_objects.pack_id = deleted.pack_id
  AND erased_at IS NOT NULL;

-- name: locate
SELECT
    object.storage_key, object.tenant_id, object.raw_size_bytes, object.content_hash, object.compressed_size_bytes,
    pack.object_key, object.frame_offset, object.dictionary_id, object.key_generation, object.wrapped_key,
    object.last_accessed_at, object.deleted_at, object.erased_at, object.form
FROM content_objects AS object
LEFT JOIN content_packs AS pack USING (pack_id)
WHERE object.storage_key = ANY(%(storage_keys)s)
  AND object.form <> 'attachment';

-- name: locate_attachments
-- Of a recoded message, in the order of its recipe.
SELECT
    object.storage_key, object.tenant_id, object.raw_size_bytes, object.content_hash, object.compressed_size_bytes,
    pack.object_key, object.frame_offset, object.dictionary_id, object.key_generation, object.wrapped_key,
    object.last_accessed_at, object.deleted_at, object.erased_at, object.form
FROM attachment_uses AS link
JOIN content_objects AS object ON object.storage_key = link.attachment_key
LEFT JOIN content_packs AS pack USING (pack_id)
WHERE link.message_key = %(storage_key)s
ORDER BY link.part;

-- name: locate_message
-- A storage key opens with the message's id, so this is a range of the primary key.
SELECT storage_key
FROM content_objects
WHERE storage_key >= %(first)s
  AND storage_key < %(last)s
  AND form <> 'attachment'
ORDER BY storage_key
LIMIT 2;

-- name: touch
UPDATE content_objects
SET last_accessed_at = %(now)s
WHERE storage_key = ANY(%(storage_keys)s)
  AND (last_accessed_at IS NULL OR last_accessed_at < %(now)s - interval '1 day');

-- name: record_broken_reference
INSERT INTO broken_references (storage_key, tenant_id, problem, found_at)
VALUES (%(storage_key)s, %(tenant_id)s, %(problem)s, %(now)s)
ON CONFLICT (storage_key) DO UPDATE
SET problem = excluded.problem,
    seen_again_at = excluded.found_at;

-- name: clear_broken_reference
DELETE FROM broken_references
WHERE storage_key = %(storage_key)s;

-- name: page_of_objects
SELECT storage_key
FROM content_objects
WHERE storage_key > %(after)s
  AND erased_at IS NULL
  AND deleted_at IS NULL
  AND form <> 'attachment'
ORDER BY storage_key
LIMIT %(limit)s;

-- name: page_of_tenant_objects
SELECT storage_key
FROM content_objects
WHERE storage_key > %(after)s
  AND tenant_id = %(tenant_id)s
  AND erased_at IS NULL
  AND deleted_at IS NULL
  AND form <> 'attachment'
ORDER BY storage_key
LIMIT %(limit)s;

-- name: known_storage_keys
SELECT storage_key
FROM content_objects
WHERE storage_key = ANY(%(storage_keys)s);

-- name: totals
SELECT
    count(*) FILTER (WHERE erased_at IS NULL AND deleted_at IS NULL AND form <> 'attachment') AS messages,
    coalesce(sum(raw_size_bytes) FILTER (WHERE erased_at IS NULL AND form <> 'attachment'), 0)::bigint AS raw_bytes,
    coalesce(sum(compressed_size_bytes) FILTER (WHERE erased_at IS NULL), 0)::bigint AS stored_bytes,
    count(*) FILTER (WHERE deleted_at IS NOT NULL AND erased_at IS NULL) AS deleted_messages,
    count(*) FILTER (WHERE erased_at IS NOT NULL AND form <> 'attachment') AS erased_messages,
    min(created_at) FILTER (WHERE erased_at IS NULL) AS oldest_at,
    max(created_at) FILTER (WHERE erased_at IS NULL) AS newest_at
FROM content_objects;

-- name: pack_totals
SELECT
    count(*) FILTER (WHERE state = 'live') AS live_packs,
    coalesce(sum(size_bytes) FILTER (WHERE state = 'live'), 0)::bigint AS pack_bytes,
    coalesce(sum(dead_bytes) FILTER (WHERE state = 'live'), 0)::bigint AS dead_bytes,
    count(*) FILTER (WHERE state = 'building') AS building_packs,
    count(*) FILTER (WHERE state = 'condemned') AS condemned_packs
FROM content_packs;

-- name: class_totals
WITH apart AS (
    SELECT retention_class, count(*) AS attachments
    FROM shared_attachments
    GROUP BY retention_class
)
SELECT
    pack.retention_class,
    count(*) AS packs,
    coalesce(sum(messages - dead_messages), 0)::bigint - coalesce(max(apart.attachments), 0) AS messages,
    coalesce(max(apart.attachments), 0) AS shared_attachments,
    coalesce(sum(size_bytes), 0)::bigint AS pack_bytes,
    coalesce(sum(dead_bytes), 0)::bigint AS dead_bytes
FROM content_packs AS pack
LEFT JOIN apart USING (retention_class)
WHERE state = 'live'
GROUP BY pack.retention_class
ORDER BY pack.retention_class;

-- name: other_totals
SELECT
    (SELECT count(*) FROM broken_references) AS broken_references,
    (SELECT count(*) FROM dictionaries WHERE state = 'live') AS dictionaries,
    (SELECT count(DISTINCT tenant_id) FROM tenant_keys) AS tenants,
    (SELECT count(*) FROM attachments) AS attachments,
    (SELECT count(*) FROM shared_attachments) AS shared_attachments;

-- name: live_packs_page
SELECT pack_id, object_key, size_bytes, sha256
FROM content_packs
WHERE state = 'live'
  AND pack_id > %(after)s
ORDER BY pack_id
LIMIT %(limit)s;

-- name: unfinished_packs
SELECT pack_id, object_key, state
FROM content_packs
WHERE (state = 'building' AND lease_until < %(now)s)
   OR (state = 'condemned' AND delete_after < %(now)s)
ORDER BY pack_id
LIMIT %(limit)s;

-- name: random_objects
-- A different sample each time, without reading the table: some messages of packs drawn at random.
SELECT object.storage_key
FROM (
    SELECT pack_id
    FROM content_packs
    WHERE state = 'live'
    ORDER BY random()
    LIMIT %(packs)s
) AS drawn
CROSS JOIN LATERAL (
    SELECT storage_key
    FROM content_objects
    WHERE content_objects.pack_id = drawn.pack_id
      AND erased_at IS NULL
      AND deleted_at IS NULL
      AND form <> 'attachment'
    ORDER BY random()
    LIMIT %(messages)s
) AS object
ORDER BY random()
LIMIT %(messages)s;

-- name: packs_to_verify
-- The share that is due: read that many a day and each pack is read again within so many days.
SELECT pack_id, object_key, sha256
FROM content_packs
WHERE state = 'live'
ORDER BY coalesce(verified_at, '-infinity'), pack_id
LIMIT (SELECT ceil(count(*) / %(days)s::float8)::bigint FROM content_packs WHERE state = 'live');

-- name: packs_not_verified_since
SELECT count(*) AS packs, count(*) FILTER (WHERE coalesce(verified_at, '-infinity') < %(since)s) AS overdue
FROM content_packs
WHERE state = 'live';

-- name: members_of_pack
SELECT storage_key, tenant_id, raw_size_bytes, content_hash, wrapped_key, form, frame_offset, compressed_size_bytes,
    dictionary_id, key_generation
FROM content_objects
WHERE pack_id = %(pack_id)s
  AND erased_at IS NULL
  AND storage_key > %(after)s
ORDER BY storage_key
LIMIT %(limit)s;

-- name: known_object_keys
-- Whatever the index has a reason to keep.
SELECT object_key FROM content_packs WHERE state <> 'deleted' AND object_key = ANY(%(object_keys)s)
UNION ALL
SELECT object_key FROM dictionaries WHERE object_key = ANY(%(object_keys)s);

-- name: places_of_names
-- The objects that hold these messages now, each once; null where one that was not erased is in none.
SELECT DISTINCT CASE WHEN pack.state IN ('live', 'condemned') THEN pack.object_key END
FROM unnest(%(storage_keys)s::text[]) AS named
LEFT JOIN content_objects AS object ON object.storage_key = named
LEFT JOIN content_packs AS pack USING (pack_id)
WHERE object.erased_at IS NULL;

-- name: pack_verified
UPDATE content_packs
SET verified_at = %(now)s
WHERE pack_id = %(pack_id)s;

-- name: known_keys
SELECT tenant_id, generation
FROM tenant_keys
WHERE dropped_at IS NULL
ORDER BY tenant_id, generation;

-- name: newest_dictionary
SELECT dictionary_id, generation, created_at, trained_ratio
FROM dictionaries
WHERE tenant_id = %(tenant_id)s
  AND state = 'live'
ORDER BY generation DESC
LIMIT 1;

-- name: dictionaries_to_look_at
SELECT dictionary_id
FROM dictionaries
WHERE state = 'live'
ORDER BY created_at >= %(new_since)s DESC, random()
LIMIT %(dictionaries)s;

-- name: messages_of_dictionary
SELECT object.storage_key
FROM (
    SELECT pack_id
    FROM content_packs
    WHERE state = 'live'
      AND dictionary_id = %(dictionary_id)s
    ORDER BY pack_id DESC
    LIMIT 2
) AS newest
CROSS JOIN LATERAL (
    SELECT storage_key
    FROM content_objects
    WHERE content_objects.pack_id = newest.pack_id
      AND erased_at IS NULL
      AND deleted_at IS NULL
      AND form <> 'attachment'
    ORDER BY random()
    LIMIT %(messages)s
) AS object
LIMIT %(messages)s;

-- name: dictionary_totals
SELECT
    tenant_id, count(*) AS generations, max(created_at) AS newest_at, sum(size_bytes)::bigint AS size_bytes,
    (array_agg(trained_ratio ORDER BY generation DESC))[1] AS newest_ratio
FROM dictionaries
WHERE state = 'live'
GROUP BY tenant_id
ORDER BY max(created_at) DESC
LIMIT %(limit)s;

-- name: next_dictionary_id
SELECT nextval('dictionary_ids');

-- name: record_dictionary
-- The generation stays a hint: two hand-overs that train at once make two dictionaries, and both stay readable.
INSERT INTO dictionaries (
    dictionary_id, tenant_id, generation, object_key, size_bytes, sha256, key_generation, sampled_messages,
    minimum_correspondents, trained_ratio, state, created_at
)
VALUES (
    %(dictionary_id)s, %(tenant_id)s, %(generation)s, %(object_key)s, %(size_bytes)s, %(sha256)s, %(key_generation)s,
    %(sampled_messages)s, %(minimum_correspondents)s, %(trained_ratio)s, 'building', %(now)s
);

-- name: dictionary_goes_live
UPDATE dictionaries
SET state = 'live'
WHERE dictionary_id = %(dictionary_id)s
  AND state = 'building'
  AND EXISTS (
      SELECT
      FROM tenant_keys
      WHERE tenant_keys.tenant_id = dictionaries.tenant_id
        AND tenant_keys.generation = dictionaries.key_generation
        AND tenant_keys.dropped_at IS NULL
  );

-- name: locate_dictionary
SELECT tenant_id, key_generation, object_key
FROM dictionaries
WHERE dictionary_id = %(dictionary_id)s;

-- name: abandoned_dictionaries
-- Those whose training died, and those of a tenant whose mail was erased.
SELECT dictionary_id, object_key
FROM dictionaries
WHERE ((state = 'building' AND created_at < %(started_before)s) OR state = 'condemned')
ORDER BY dictionary_id
LIMIT %(limit)s;

-- name: forget_abandoned_dictionary
DELETE FROM dictionaries
WHERE dictionary_id = %(dictionary_id)s
  AND state IN ('building', 'condemned');

-- name: page_of_older_keys
SELECT object.storage_key, object.key_generation, object.wrapped_key
FROM content_packs AS pack
JOIN content_objects AS object USING (pack_id)
WHERE pack.tenant_id = %(tenant_id)s
  AND object.key_generation < %(generation)s
  AND object.erased_at IS NULL
  AND object.storage_key > %(after)s
ORDER BY object.storage_key
LIMIT %(limit)s;

-- name: rewrap
-- Only where the old wrapping is still there: an erasure meanwhile stays an erasure.
UPDATE content_objects AS object
SET wrapped_key = renewed.wrapped_key,
    key_generation = %(generation)s
FROM unnest(%(storage_keys)s::text[], %(old)s::bytea[], %(new)s::bytea[]) AS renewed (storage_key, old_key, wrapped_key)
WHERE object.storage_key = renewed.storage_key
  AND object.wrapped_key = renewed.old_key;

-- name: add_attachment
-- Only of a message that this pack has brought: another hand-over may have stored it first.
INSERT INTO attachments (
    id, tenant_id, parent_storage_key, filename, mime_type, size_bytes, storage_disposition, created_at, stored_as
)
SELECT
    %(id)s, %(tenant_id)s, storage_key, %(filename)s, %(mime_type)s, %(size_bytes)s, %(disposition)s, %(created_at)s,
    (
        SELECT shared.storage_key
        FROM shared_attachments AS shared
        JOIN attachment_uses AS link ON link.attachment_key = shared.storage_key
        WHERE link.message_key = %(storage_key)s AND shared.content_hash = %(content_hash)s
        LIMIT 1
    )
FROM content_objects
WHERE storage_key = %(storage_key)s
  AND pack_id = %(pack_id)s
  AND erased_at IS NULL;
