-- One row a sending, written just before the server is given the message: from then on it may have been delivered.
CREATE TABLE queue_sent_mail (
    idempotency_key uuid PRIMARY KEY,
    message_id uuid NOT NULL,
    state varchar(10) NOT NULL CHECK (state IN ('sending', 'sent', 'bounced')),
    reply_code integer,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now()
);
