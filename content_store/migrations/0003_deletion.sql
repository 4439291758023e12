-- What may be deleted, what must not be, and the proof of what was. Precedence: legal hold, erasure, policy.

ALTER TABLE content_objects ADD COLUMN erased_because varchar(20)
    CHECK (erased_because IN ('retention', 'deleted', 'erasure'));
ALTER TABLE content_objects ADD CHECK ((erased_at IS NULL) = (erased_because IS NULL));
ALTER TABLE content_objects DROP CONSTRAINT content_objects_compressed_size_bytes_check;
ALTER TABLE content_objects ADD CHECK (compressed_size_bytes > 0 OR erased_at IS NOT NULL);
COMMENT ON COLUMN content_objects.pack_id IS 'Where the sealed frame is; of an erased message, until its bytes are gone too.';

CREATE INDEX content_objects_deleted ON content_objects (deleted_at) WHERE deleted_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX content_objects_erased_bytes ON content_objects (erased_at) WHERE erased_at IS NOT NULL AND pack_id IS NOT NULL;

CREATE TABLE retention_policies (
    tenant_id uuid NOT NULL,
    retention_class varchar(50) NOT NULL,
    keep_days integer NOT NULL CHECK (keep_days BETWEEN 1 AND 36500),
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, retention_class)
);
COMMENT ON TABLE retention_policies IS 'Where a tenant keeps a class of mail for another time than the default.';

CREATE TABLE content_holds (
    hold_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    matter varchar(200) NOT NULL,
    whole_tenant boolean NOT NULL,
    placed_at timestamptz NOT NULL,
    released_at timestamptz
);
COMMENT ON COLUMN content_holds.matter IS 'File number of the legal matter; no names.';
CREATE INDEX content_holds_active ON content_holds (tenant_id) WHERE released_at IS NULL;

CREATE TABLE content_hold_items (
    hold_id uuid NOT NULL REFERENCES content_holds ON DELETE CASCADE,
    storage_key varchar(500) COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    PRIMARY KEY (storage_key, hold_id)
);
CREATE INDEX content_hold_items_hold ON content_hold_items (hold_id);

CREATE FUNCTION is_held(a_tenant_id uuid, a_storage_key varchar) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
        SELECT EXISTS (
            SELECT FROM content_holds WHERE tenant_id = a_tenant_id AND whole_tenant AND released_at IS NULL
        ) OR EXISTS (
            SELECT
            FROM content_hold_items AS item
            JOIN content_holds AS hold USING (hold_id)
            WHERE item.storage_key = a_storage_key AND hold.released_at IS NULL
        )
    $$;

CREATE TABLE erasure_requests (
    request_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    scope varchar(20) NOT NULL CHECK (scope IN ('messages', 'person', 'tenant')),
    requested_at timestamptz NOT NULL,
    effective_at timestamptz,
    gone_at timestamptz,
    CHECK (gone_at IS NULL OR effective_at IS NOT NULL)
);
COMMENT ON COLUMN erasure_requests.effective_at IS 'When the last of its messages lost its key: from then on nothing can be read.';
COMMENT ON COLUMN erasure_requests.gone_at IS 'When the last of its bytes had left the object store, verified.';
CREATE INDEX erasure_requests_open ON erasure_requests (requested_at) WHERE gone_at IS NULL;

CREATE TABLE erasure_items (
    request_id uuid NOT NULL REFERENCES erasure_requests ON DELETE CASCADE,
    storage_key varchar(500) COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    PRIMARY KEY (request_id, storage_key)
);
COMMENT ON TABLE erasure_items IS 'Messages an erasure names; one of a whole tenant names none.';

CREATE TABLE erasure_certificates (
    sequence bigint PRIMARY KEY,
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    statement jsonb NOT NULL,
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
COMMENT ON TABLE erasure_certificates IS 'Hash-chained statements of what was erased; ids and counts, no personal data.';

CREATE TABLE suppressions (
    tenant_id uuid NOT NULL,
    address_hash varchar(64) NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, address_hash)
);
COMMENT ON TABLE suppressions IS 'Addresses that must not be written to again, as a keyed hash; kept for ever.';

ALTER TABLE retention_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE content_holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE content_hold_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_certificates ENABLE ROW LEVEL SECURITY;
ALTER TABLE suppressions ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON retention_policies
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON content_holds
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON content_hold_items
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON erasure_requests
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON erasure_items
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON erasure_certificates
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON suppressions
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
