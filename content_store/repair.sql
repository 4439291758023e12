-- Rebuilding locations from packs.

-- name: pack_of_object
SELECT state
FROM content_packs
WHERE object_key = %(object_key)s;

-- name: rows_of
SELECT
    object.storage_key, object.tenant_id, object.raw_size_bytes, object.key_generation, object.wrapped_key, object.content_hash,
    object.dictionary_id, object.form, pack.object_key, pack.state
FROM content_objects AS object
LEFT JOIN content_packs AS pack USING (pack_id)
WHERE object.storage_key = ANY(%(storage_keys)s)
  AND object.erased_at IS NULL;

-- name: add_pack
INSERT INTO content_packs (
    pack_id, tenant_id, retention_class, ingest_month, object_key, state, size_bytes, sha256, messages, dead_messages,
    dead_bytes, key_generation, dictionary_id, lease_until, created_at, stored_at
)
VALUES (
    %(pack_id)s, %(tenant_id)s, %(retention_class)s, %(ingest_month)s, %(object_key)s, 'live', %(size_bytes)s, %(sha256)s,
    %(messages)s, %(dead_messages)s, %(dead_bytes)s, %(key_generation)s, %(dictionary_id)s, %(now)s, %(now)s, %(now)s
)
ON CONFLICT DO NOTHING;

-- name: point_to
UPDATE content_objects AS object
SET pack_id = %(pack_id)s,
    frame_offset = place.frame_offset,
    compressed_size_bytes = place.size_bytes,
    dictionary_id = place.dictionary_id
FROM unnest(%(storage_keys)s::text[], %(offsets)s::bigint[], %(sizes)s::bigint[], %(dictionaries)s::bigint[])
    AS place (storage_key, frame_offset, size_bytes, dictionary_id)
WHERE object.storage_key = place.storage_key
  AND object.erased_at IS NULL;

-- name: known_dictionary
SELECT EXISTS (SELECT FROM dictionaries WHERE dictionary_id = %(dictionary_id)s);

-- name: add_dictionary
INSERT INTO dictionaries (
    dictionary_id, tenant_id, generation, object_key, size_bytes, sha256, key_generation, sampled_messages,
    minimum_correspondents, trained_ratio, state, created_at
)
VALUES (
    %(dictionary_id)s, %(tenant_id)s, 0, %(object_key)s, %(size_bytes)s, %(sha256)s, %(key_generation)s, 0, 5, 1, 'retired',
    %(now)s
)
ON CONFLICT DO NOTHING;

-- name: dictionary_ids_go_on
-- A restored sequence must not give an id twice: each id seals one dictionary.
SELECT setval('dictionary_ids', greatest(%(dictionary_id)s, (SELECT last_value FROM dictionary_ids)));

-- name: generations
SELECT generation
FROM tenant_keys
WHERE tenant_id = %(tenant_id)s
  AND generation > 0
  AND dropped_at IS NULL
ORDER BY generation DESC;
