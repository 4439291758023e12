-- Messages (metadata only), bodies until the content tier has them, the event log, the ledger of mail taken in, audit events.
--
-- Growing tables are partitioned by month. Messages and audit events are cut by their id, whose first 48 bits are the time
-- (version 7), so that (tenant_id, id) stays the whole key. Each has a partition `_history` for everything before 2026,
-- because archives of any age may be loaded, and a partition `_default` that must stay empty: a row in it says that a month
-- was not made in time.

SET LOCAL ROLE pm_owner;

CREATE TABLE email_messages (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    company_id uuid NOT NULL,
    email_account_id uuid NOT NULL,
    campaign_id uuid,
    campaign_sequence_step_id uuid,
    lead_id uuid,
    parent_message_id uuid,
    direction varchar(20) NOT NULL,
    message_type varchar(20) NOT NULL DEFAULT 'email',
    message_id_header varchar(998),
    from_email varchar(254),
    to_email varchar(254),
    subject varchar(500),
    status varchar(50) NOT NULL DEFAULT 'queued',
    content_storage_key varchar(500),
    raw_size_bytes bigint NOT NULL DEFAULT 0,
    sent timestamptz,
    delivered timestamptz,
    opened timestamptz,
    clicked timestamptz,
    replied timestamptz,
    bounced timestamptz,
    unsubscribed timestamptz,
    complained timestamptz,
    bounce_type varchar(10),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, company_id) REFERENCES companies ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns ON DELETE SET NULL (campaign_id),
    FOREIGN KEY (tenant_id, campaign_sequence_step_id) REFERENCES campaign_sequence_steps
        ON DELETE SET NULL (campaign_sequence_step_id),
    FOREIGN KEY (tenant_id, lead_id) REFERENCES leads ON DELETE SET NULL (lead_id),
    CONSTRAINT email_messages_direction_is_known CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT email_messages_message_type_is_known CHECK (message_type IN ('email', 'bounce', 'auto_reply', 'warmup')),
    CONSTRAINT email_messages_status_is_known CHECK (
        status IN ('queued', 'sent', 'delivered', 'deferred', 'bounced', 'failed', 'received')
    ),
    CONSTRAINT email_messages_bounce_type_is_known CHECK (bounce_type IN ('hard', 'soft')),
    CONSTRAINT email_messages_from_email_is_lower_case CHECK (from_email = lower(from_email)),
    CONSTRAINT email_messages_to_email_is_lower_case CHECK (to_email = lower(to_email)),
    CONSTRAINT email_messages_raw_size_is_positive CHECK (raw_size_bytes >= 0)
) PARTITION BY RANGE (id);

CREATE INDEX email_messages_account_index ON email_messages (tenant_id, email_account_id, id DESC);

CREATE INDEX email_messages_campaign_index ON email_messages (tenant_id, campaign_id, id DESC);

CREATE INDEX email_messages_step_index ON email_messages (tenant_id, campaign_sequence_step_id);

CREATE INDEX email_messages_lead_index ON email_messages (tenant_id, lead_id, id DESC);

CREATE INDEX email_messages_company_index ON email_messages (tenant_id, company_id, id DESC);

CREATE INDEX email_messages_parent_index ON email_messages (tenant_id, parent_message_id)
    WHERE parent_message_id IS NOT NULL;

CREATE INDEX email_messages_header_index ON email_messages (tenant_id, message_id_header);

CREATE INDEX email_messages_xid_index ON email_messages (xid);

CREATE TABLE email_message_bodies (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    message_id uuid NOT NULL,
    raw_message bytea NOT NULL,
    claimed_by uuid,
    stored_at timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES email_messages ON DELETE CASCADE
);

-- Bodies stay here for a day: compressing them would cost more than the space.
ALTER TABLE email_message_bodies ALTER COLUMN raw_message SET STORAGE EXTERNAL;

CREATE INDEX email_message_bodies_waiting_index ON email_message_bodies (created, message_id) WHERE stored_at IS NULL;

CREATE INDEX email_message_bodies_waiting_of_tenant_index ON email_message_bodies (tenant_id, created, message_id)
    WHERE stored_at IS NULL;

CREATE INDEX email_message_bodies_claimed_index ON email_message_bodies (claimed_by) WHERE claimed_by IS NOT NULL;

CREATE INDEX email_message_bodies_stored_index ON email_message_bodies (stored_at) WHERE stored_at IS NOT NULL;

CREATE INDEX email_message_bodies_message_index ON email_message_bodies (message_id);

-- Append-only and without foreign keys to what it names: two of them halve the rate of inserts. The policy keeps the tenant
-- right, a check of the pipelines finds events without their message.
CREATE TABLE email_events (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id(),
    id uuid NOT NULL DEFAULT app.uuidv7(),
    message_id uuid NOT NULL,
    campaign_id uuid,
    campaign_sequence_step_id uuid,
    email_account_id uuid,
    lead_id uuid,
    event_type varchar(20) NOT NULL,
    occurred_at timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload jsonb,
    PRIMARY KEY (tenant_id, occurred_at, id),
    CONSTRAINT email_events_event_type_is_known CHECK (
        event_type IN ('sent', 'delivered', 'opened', 'clicked', 'replied', 'bounced', 'unsubscribed', 'complained')
    )
) PARTITION BY RANGE (occurred_at);

CREATE INDEX email_events_message_index ON email_events (tenant_id, message_id, occurred_at DESC);

CREATE INDEX email_events_campaign_index ON email_events (tenant_id, campaign_id, occurred_at DESC);

CREATE INDEX email_events_lead_index ON email_events (tenant_id, lead_id, occurred_at DESC);

CREATE INDEX email_events_xid_index ON email_events (xid);

-- Every item of every source that was ever read is accounted for here; what could not be loaded keeps its bytes here.
CREATE TABLE mail_intake (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    source_name text NOT NULL,
    item_name text NOT NULL,
    raw_sha256 bytea NOT NULL,
    raw_size_bytes bigint NOT NULL,
    outcome varchar(20) NOT NULL,
    reason varchar(50),
    message_id uuid,
    thread_headers text[],
    raw_message bytea,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, source_name, item_name, raw_sha256),
    CONSTRAINT mail_intake_outcome_is_known CHECK (outcome IN ('loaded', 'duplicate', 'set_aside')),
    CONSTRAINT mail_intake_fits_its_outcome CHECK (
        CASE outcome WHEN 'set_aside' THEN reason IS NOT NULL ELSE message_id IS NOT NULL END
    )
);

ALTER TABLE mail_intake ALTER COLUMN raw_message SET STORAGE EXTERNAL;

CREATE INDEX mail_intake_digest_index ON mail_intake (tenant_id, raw_sha256) WHERE outcome = 'loaded';

CREATE INDEX mail_intake_message_index ON mail_intake (tenant_id, message_id);

CREATE INDEX mail_intake_thread_index ON mail_intake USING gin (thread_headers) WHERE thread_headers IS NOT NULL;

-- No foreign key: the record of a deletion must outlive what was deleted.
CREATE TABLE admin_audit_events (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id(),
    id uuid NOT NULL DEFAULT app.uuidv7(),
    actor_user_id uuid,
    action varchar(100) NOT NULL,
    category varchar(50) NOT NULL,
    resource_type varchar(63),
    resource_id text,
    old_values jsonb,
    new_values jsonb,
    ip_address inet,
    user_agent text,
    notes text,
    metadata jsonb,
    data_classification varchar(20) NOT NULL DEFAULT 'internal',
    retention_category varchar(20) NOT NULL DEFAULT 'standard',
    occurred_at timestamptz NOT NULL DEFAULT now(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT admin_audit_events_category_is_known CHECK (
        category IN ('role', 'billing', 'configuration', 'export', 'impersonation', 'deletion')
    ),
    CONSTRAINT admin_audit_events_classification_is_known CHECK (
        data_classification IN ('public', 'internal', 'confidential', 'restricted')
    ),
    CONSTRAINT admin_audit_events_retention_is_known CHECK (retention_category IN ('standard', 'extended', 'legal'))
) PARTITION BY RANGE (id);

CREATE INDEX admin_audit_events_actor_index ON admin_audit_events (tenant_id, actor_user_id, id DESC);

CREATE INDEX admin_audit_events_xid_index ON admin_audit_events (xid);

CALL app.isolate_by_tenant('email_messages');
CALL app.isolate_by_tenant('email_message_bodies');
CALL app.isolate_by_tenant('email_events');
CALL app.isolate_by_tenant('mail_intake');
CALL app.isolate_by_tenant('admin_audit_events');

-- Logs are written once: the application adds to them and reads them.
REVOKE UPDATE, DELETE ON email_events, admin_audit_events FROM pm_app;
REVOKE INSERT, UPDATE, DELETE ON mail_intake FROM pm_app;

-- Pipelines that read need no bodies: those move through the hand-over.
REVOKE SELECT ON email_message_bodies, mail_intake FROM pm_reader;
GRANT SELECT (tenant_id, message_id, stored_at, created) ON email_message_bodies TO pm_reader;
GRANT SELECT (tenant_id, id, source_name, item_name, raw_sha256, raw_size_bytes, outcome, reason, message_id, created)
    ON mail_intake TO pm_reader;

-- A partition is reached through its table only: it has forced row level security of its own and no grant.
CREATE PROCEDURE app.create_partition(table_name text, partition_name text, bounds text)
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    IF pg_catalog.to_regclass(pg_catalog.format('public.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.format('CREATE TABLE public.%I PARTITION OF public.%I %s', partition_name, table_name, bounds);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE pg_catalog.format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition_name);
    EXECUTE pg_catalog.format(
        'CREATE POLICY own_tenant ON public.%I FOR ALL TO pm_app
             USING (tenant_id = (SELECT app.current_tenant_id()))
             WITH CHECK (tenant_id = (SELECT app.current_tenant_id()))',
        partition_name
    );
END
$body$;

COMMENT ON PROCEDURE app.create_partition(text, text, text) IS
    'Makes one partition with forced row level security and without grants; does nothing when it is there.';

-- Months are UTC, whatever the session's time zone.
CREATE PROCEDURE app.ensure_partitions(from_month date, to_month date)
    LANGUAGE plpgsql SET search_path = '' SET timezone = 'UTC'
AS $body$
DECLARE
    first_month constant date := GREATEST(pg_catalog.date_trunc('month', from_month::timestamp)::date, DATE '2026-01-01');
    growing record;
    month_start timestamptz;
    month_end timestamptz;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('app.ensure_partitions', 0));
    FOR growing IN
        SELECT *
        FROM (VALUES
            ('email_messages', true),
            ('email_events', false),
            ('admin_audit_events', true)
        ) AS tables (table_name, cut_by_id)
    LOOP
        month_start := first_month;
        WHILE month_start <= to_month LOOP
            month_end := month_start + interval '1 month';
            CALL app.create_partition(
                growing.table_name,
                growing.table_name || pg_catalog.to_char(month_start, '_YYYY_MM'),
                CASE WHEN growing.cut_by_id
                    THEN pg_catalog.format(
                        'FOR VALUES FROM (%L) TO (%L)',
                        app.uuidv7_lower_bound(month_start), app.uuidv7_lower_bound(month_end)
                    )
                    ELSE pg_catalog.format('FOR VALUES FROM (%L) TO (%L)', month_start, month_end)
                END
            );
            month_start := month_end;
        END LOOP;
    END LOOP;
END
$body$;

COMMENT ON PROCEDURE app.ensure_partitions(date, date) IS
    'Makes the monthly partitions of all growing tables from one month to another, both included; months before 2026 share the history partition.';

REVOKE EXECUTE ON PROCEDURE app.create_partition(text, text, text), app.ensure_partitions(date, date) FROM PUBLIC;

DO $history_and_default$
DECLARE
    growing record;
BEGIN
    FOR growing IN
        SELECT *
        FROM (VALUES
            ('email_messages', app.uuidv7_lower_bound('2026-01-01 00:00:00+00')::text),
            ('email_events', '2026-01-01 00:00:00+00'),
            ('admin_audit_events', app.uuidv7_lower_bound('2026-01-01 00:00:00+00')::text)
        ) AS tables (table_name, first_bound)
    LOOP
        CALL app.create_partition(
            growing.table_name,
            growing.table_name || '_history',
            format('FOR VALUES FROM (MINVALUE) TO (%L)', growing.first_bound)
        );
        CALL app.create_partition(growing.table_name, growing.table_name || '_default', 'DEFAULT');
    END LOOP;
END
$history_and_default$;

RESET ROLE;
