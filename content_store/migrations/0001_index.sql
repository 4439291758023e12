-- The content tier's index. Bytes live in the object store; these rows say where, how big, and with which wrapped key.
-- The owner of the tables is the content service, which works for all tenants; any other login sees one tenant's rows:
-- the one named by app.current_tenant_id, and none when it is not set.

CREATE FUNCTION current_tenant_id() RETURNS uuid
    LANGUAGE sql STABLE
    SET search_path = ''
    AS $$ SELECT nullif(current_setting('app.current_tenant_id', true), '')::uuid $$;

CREATE TABLE content_packs (
    pack_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    retention_class varchar(50) NOT NULL,
    ingest_month date NOT NULL CHECK (extract(DAY FROM ingest_month) = 1),
    object_key varchar(500) NOT NULL UNIQUE,
    state varchar(20) NOT NULL CHECK (state IN ('building', 'live', 'condemned', 'deleted')),
    size_bytes bigint CHECK (size_bytes > 0),
    sha256 bytea CHECK (length(sha256) = 32),
    messages integer NOT NULL DEFAULT 0,
    dead_messages integer NOT NULL DEFAULT 0,
    dead_bytes bigint NOT NULL DEFAULT 0,
    key_generation integer NOT NULL,
    dictionary_id bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    delete_after timestamptz,
    created_at timestamptz NOT NULL,
    stored_at timestamptz,
    verified_at timestamptz,
    deleted_at timestamptz,
    CHECK (state <> 'live' OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND stored_at IS NOT NULL))
);
COMMENT ON TABLE content_packs IS 'One row a pack, written before its object is: no object exists that this table does not know.';
COMMENT ON COLUMN content_packs.lease_until IS 'A pack still building after this time was abandoned by its builder.';
COMMENT ON COLUMN content_packs.dead_bytes IS 'Bytes of messages that were deleted or moved away since.';
COMMENT ON COLUMN content_packs.sha256 IS 'SHA-256 of the whole object; read back and compared before the pack went live.';

CREATE INDEX content_packs_unfinished ON content_packs (lease_until) WHERE state IN ('building', 'condemned');
CREATE INDEX content_packs_group ON content_packs (tenant_id, retention_class, ingest_month) WHERE state = 'live';

CREATE TABLE content_objects (
    storage_key varchar(500) COLLATE "C" PRIMARY KEY,
    tenant_id uuid NOT NULL,
    raw_size_bytes bigint NOT NULL CHECK (raw_size_bytes >= 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_accessed_at timestamptz,
    content_hash varchar(64),
    compression_algorithm varchar(20) NOT NULL,
    compressed_size_bytes bigint NOT NULL CHECK (compressed_size_bytes > 0),
    pack_id uuid REFERENCES content_packs,
    frame_offset bigint CHECK (frame_offset > 0),
    dictionary_id bigint NOT NULL,
    key_generation integer NOT NULL,
    wrapped_key bytea CHECK (length(wrapped_key) = 40),
    deleted_at timestamptz,
    erased_at timestamptz,
    CHECK ((erased_at IS NULL) = (wrapped_key IS NOT NULL)),
    CHECK (erased_at IS NULL OR content_hash IS NULL)
) WITH (fillfactor = 95);
COMMENT ON TABLE content_objects IS 'One row a message: where its sealed frame is and the wrapped key that opens it.';
COMMENT ON COLUMN content_objects.content_hash IS 'HMAC-SHA256 of the raw message under the tenant''s key, hexadecimal; empty after erasure.';
COMMENT ON COLUMN content_objects.compressed_size_bytes IS 'Bytes in the pack, encryption included.';
COMMENT ON COLUMN content_objects.last_accessed_at IS 'Moved at most once a day, so that reading is not writing.';
COMMENT ON COLUMN content_objects.wrapped_key IS 'The message''s data key under the tenant''s key; dropping it erases the message everywhere.';
COMMENT ON COLUMN content_objects.deleted_at IS 'Soft deletion: unreadable, can be undone until the data key is dropped.';

CREATE INDEX content_objects_pack ON content_objects (pack_id);

CREATE TABLE attachments (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    parent_storage_key varchar(500) COLLATE "C" NOT NULL REFERENCES content_objects (storage_key) ON DELETE CASCADE,
    filename varchar(255),
    mime_type varchar(100) NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    storage_disposition varchar(20) NOT NULL CHECK (storage_disposition IN ('inline', 'attachment')),
    created_at timestamptz NOT NULL
);
CREATE INDEX attachments_parent ON attachments (parent_storage_key);

CREATE TABLE dictionaries (
    dictionary_id bigint PRIMARY KEY,
    tenant_id uuid NOT NULL,
    generation integer NOT NULL,
    object_key varchar(500) NOT NULL UNIQUE,
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    key_generation integer NOT NULL,
    sampled_messages integer NOT NULL,
    minimum_correspondents integer NOT NULL CHECK (minimum_correspondents >= 5),
    state varchar(20) NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, generation)
);
COMMENT ON TABLE dictionaries IS 'Dictionaries trained for one tenant; the shipped bootstrap dictionary is part of the code.';

CREATE TABLE tenant_keys (
    tenant_id uuid NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    check_value bytea NOT NULL CHECK (length(check_value) = 8),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, generation)
);
COMMENT ON TABLE tenant_keys IS 'Which key generations were used, with a value that recognises each key. Never a key.';

CREATE TABLE broken_references (
    storage_key varchar(500) COLLATE "C" PRIMARY KEY,
    tenant_id uuid NOT NULL,
    problem varchar(50) NOT NULL,
    found_at timestamptz NOT NULL,
    seen_again_at timestamptz
);
COMMENT ON TABLE broken_references IS 'Messages that could not be read; a row goes when the message can be read again.';

ALTER TABLE content_packs ENABLE ROW LEVEL SECURITY;
ALTER TABLE content_objects ENABLE ROW LEVEL SECURITY;
ALTER TABLE attachments ENABLE ROW LEVEL SECURITY;
ALTER TABLE dictionaries ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE broken_references ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON content_packs
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON content_objects
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON attachments
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON dictionaries
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON tenant_keys
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON broken_references
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
