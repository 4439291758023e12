-- A hand-over claims a stretch of waiting bodies by one row, not by a note in each of them: a note writes the body anew.

SET LOCAL ROLE pm_owner;

CREATE TABLE email_message_body_claims (
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    claimed_by uuid NOT NULL,
    first_created timestamptz NOT NULL,
    first_message_id uuid NOT NULL,
    last_created timestamptz NOT NULL,
    last_message_id uuid NOT NULL,
    messages integer NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, first_created, first_message_id),
    CONSTRAINT email_message_body_claims_are_stretches CHECK (first_created <= last_created AND messages > 0)
);

CALL app.isolate_by_tenant('email_message_body_claims');

-- Only hand-overs knew it.
-- squawk-ignore ban-drop-column
ALTER TABLE email_message_bodies DROP COLUMN claimed_by;

-- The application hands bodies in and reads them. What is stored only the hand-over knows, and only it moves them on.
REVOKE INSERT, UPDATE, DELETE ON email_message_body_claims FROM pm_app;
REVOKE INSERT, UPDATE ON email_message_bodies FROM pm_app;
GRANT INSERT (tenant_id, message_id, raw_message, created) ON email_message_bodies TO pm_app;

RESET ROLE;
