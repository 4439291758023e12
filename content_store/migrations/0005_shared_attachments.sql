-- Large attachments are stored once for a tenant, class and month, and may be kept for another time than their messages;
-- labels keep single messages for a time of their own.

ALTER TABLE content_objects ADD COLUMN form varchar(20) NOT NULL DEFAULT 'whole'
    CHECK (form IN ('whole', 'split', 'attachment'));
COMMENT ON COLUMN content_objects.form IS 'whole: a message as it is; split: a message without its large attachments; attachment: one of those, decoded.';
ALTER TABLE content_objects DROP CONSTRAINT content_objects_erased_because_check;
ALTER TABLE content_objects ADD CONSTRAINT content_objects_erased_because_check
    CHECK (erased_because IN ('retention', 'deleted', 'erasure', 'expired_attachment', 'duplicate'));
COMMENT ON COLUMN content_objects.erased_because IS 'duplicate: of an attachment that another hand-over stored at the same moment.';

CREATE TABLE shared_attachments (
    storage_key varchar(500) COLLATE "C" PRIMARY KEY REFERENCES content_objects,
    tenant_id uuid NOT NULL,
    retention_class varchar(50) NOT NULL,
    ingest_month date NOT NULL,
    content_hash varchar(64) NOT NULL,
    UNIQUE (tenant_id, retention_class, ingest_month, content_hash)
);
COMMENT ON TABLE shared_attachments IS 'Attachments stored apart from the messages that use them; a row goes with the last of those.';
COMMENT ON COLUMN shared_attachments.content_hash IS 'HMAC-SHA256 of the decoded attachment under the tenant''s key, hexadecimal.';

CREATE TABLE attachment_uses (
    message_key varchar(500) COLLATE "C" NOT NULL REFERENCES content_objects,
    part smallint NOT NULL CHECK (part >= 0),
    attachment_key varchar(500) COLLATE "C" NOT NULL REFERENCES content_objects,
    tenant_id uuid NOT NULL,
    PRIMARY KEY (message_key, part)
);
COMMENT ON TABLE attachment_uses IS 'Which attachments a split message is put together with, in the order of its recipe.';
CREATE INDEX attachment_uses_attachment ON attachment_uses (attachment_key);

-- An attachment is held with any message that uses it.
CREATE OR REPLACE FUNCTION is_held(a_tenant_id uuid, a_storage_key varchar) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
        SELECT EXISTS (
            SELECT FROM content_holds WHERE tenant_id = a_tenant_id AND whole_tenant AND released_at IS NULL
        ) OR EXISTS (
            SELECT
            FROM content_hold_items AS item
            JOIN content_holds AS hold USING (hold_id)
            WHERE item.storage_key = a_storage_key AND hold.released_at IS NULL
        ) OR EXISTS (
            SELECT
            FROM attachment_uses AS link
            JOIN content_hold_items AS item ON item.storage_key = link.message_key
            JOIN content_holds AS hold USING (hold_id)
            WHERE link.attachment_key = a_storage_key AND hold.released_at IS NULL
        )
    $$;

ALTER TABLE retention_policies ADD COLUMN attachment_keep_days integer CHECK (attachment_keep_days BETWEEN 1 AND 36500);
COMMENT ON COLUMN retention_policies.attachment_keep_days IS 'Of attachments stored apart; empty: as long as a message uses them.';

CREATE TABLE retention_labels (
    tenant_id uuid NOT NULL,
    label varchar(50) NOT NULL,
    keep_days integer NOT NULL CHECK (keep_days BETWEEN 1 AND 36500),
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, label)
);
COMMENT ON TABLE retention_labels IS 'Times for single messages; a label is stronger than the policy of the class.';
ALTER TABLE content_objects ADD COLUMN retention_label varchar(50);
ALTER TABLE content_objects ADD FOREIGN KEY (tenant_id, retention_label) REFERENCES retention_labels (tenant_id, label);
CREATE INDEX content_objects_label ON content_objects (tenant_id, retention_label) WHERE retention_label IS NOT NULL;

-- Whether no message that is left needs this attachment any longer.
CREATE FUNCTION is_expired_attachment(a_storage_key varchar, a_keep_days integer, a_time timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
        SELECT NOT EXISTS (
            SELECT
            FROM attachment_uses AS link
            JOIN content_objects AS message ON message.storage_key = link.message_key
            LEFT JOIN retention_labels AS label
                ON label.tenant_id = message.tenant_id AND label.label = message.retention_label
            WHERE link.attachment_key = a_storage_key
              AND message.erased_at IS NULL
              AND coalesce(
                  message.created_at + make_interval(days => coalesce(label.keep_days, a_keep_days)) > a_time, true
              )
        )
    $$;

ALTER TABLE shared_attachments ENABLE ROW LEVEL SECURITY;
ALTER TABLE attachment_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention_labels ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON shared_attachments
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON attachment_uses
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_tenant ON retention_labels
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));

DO $policies$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['shared_attachments', 'attachment_uses', 'retention_labels'] LOOP
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY all_tenants ON %I TO CURRENT_USER
                 USING ((SELECT current_setting(''app.works_for'', true)) = ''all_tenants'')
                 WITH CHECK ((SELECT current_setting(''app.works_for'', true)) = ''all_tenants'')',
            name
        );
    END LOOP;
END
$policies$;
