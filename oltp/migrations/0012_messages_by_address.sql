-- What was exchanged with one person is found by their address: for an answer to the person, and for their erasure.

SET LOCAL ROLE pm_owner;

CREATE INDEX email_messages_from_email_index ON email_messages (tenant_id, from_email, id);

CREATE INDEX email_messages_to_email_index ON email_messages (tenant_id, to_email, id);

RESET ROLE;
