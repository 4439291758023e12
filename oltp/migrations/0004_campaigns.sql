-- Campaigns and the steps of their sequences.

SET LOCAL ROLE pm_owner;

CREATE TABLE campaigns (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    company_id uuid NOT NULL,
    name varchar(200) NOT NULL,
    description text,
    status varchar(50) NOT NULL DEFAULT 'draft',
    scheduled timestamptz,
    completed timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, company_id) REFERENCES companies ON DELETE CASCADE,
    CONSTRAINT campaigns_status_is_known CHECK (status IN ('draft', 'scheduled', 'sending', 'completed', 'paused')),
    CONSTRAINT campaigns_completed_fits_status CHECK (completed IS NULL OR status = 'completed'),
    CONSTRAINT campaigns_scheduled_fits_status CHECK (status <> 'scheduled' OR scheduled IS NOT NULL)
) WITH (fillfactor = 85);

CREATE INDEX campaigns_company_index ON campaigns (tenant_id, company_id);

CREATE INDEX campaigns_list_index ON campaigns (tenant_id, status, updated DESC, id DESC) INCLUDE (name, scheduled);

CREATE INDEX campaigns_due_index ON campaigns (scheduled) INCLUDE (tenant_id, id) WHERE status = 'scheduled';

CREATE TABLE campaign_sequence_steps (
    tenant_id uuid NOT NULL DEFAULT app.current_tenant_id() REFERENCES tenants ON DELETE CASCADE,
    id uuid NOT NULL DEFAULT app.uuidv7(),
    campaign_id uuid NOT NULL,
    step_order integer NOT NULL,
    step_type varchar(50) NOT NULL,
    email_account_id uuid,
    template_id uuid,
    subject_override varchar(500),
    from_name_override varchar(100),
    wait_duration_hours integer,
    wait_until_date timestamptz,
    condition_type varchar(50),
    condition_value varchar(100),
    send_condition text,
    is_active boolean NOT NULL DEFAULT true,
    executed_count integer NOT NULL DEFAULT 0,
    last_executed timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, campaign_id, step_order) DEFERRABLE INITIALLY IMMEDIATE,
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts ON DELETE SET NULL (email_account_id),
    FOREIGN KEY (tenant_id, template_id) REFERENCES templates ON DELETE RESTRICT,
    CONSTRAINT campaign_sequence_steps_step_order_is_positive CHECK (step_order > 0),
    CONSTRAINT campaign_sequence_steps_step_type_is_known CHECK (step_type IN ('email', 'wait', 'condition')),
    CONSTRAINT campaign_sequence_steps_wait_is_positive CHECK (wait_duration_hours > 0),
    CONSTRAINT campaign_sequence_steps_executed_count_is_positive CHECK (executed_count >= 0),
    CONSTRAINT campaign_sequence_steps_condition_is_known CHECK (
        condition_type IN ('opened', 'clicked', 'replied', 'not_opened', 'not_clicked', 'not_replied')
    ),
    CONSTRAINT campaign_sequence_steps_fit_their_type CHECK (
        CASE step_type
            WHEN 'email' THEN template_id IS NOT NULL
            WHEN 'wait' THEN (wait_duration_hours IS NULL) <> (wait_until_date IS NULL)
            ELSE condition_type IS NOT NULL
        END
    )
) WITH (fillfactor = 85);

CREATE INDEX campaign_sequence_steps_account_index ON campaign_sequence_steps (tenant_id, email_account_id);

CREATE INDEX campaign_sequence_steps_template_index ON campaign_sequence_steps (tenant_id, template_id);

CALL app.isolate_by_tenant('campaigns');
CALL app.isolate_by_tenant('campaign_sequence_steps');

RESET ROLE;
