-- One row a message: two jobs that name the same message must not send it twice. Of several rows the one that went furthest stays.
DELETE FROM queue_sent_mail AS less
USING queue_sent_mail AS further
WHERE further.message_id = less.message_id
    AND (further.state <> 'sending', further.updated, further.idempotency_key)
    > (less.state <> 'sending', less.updated, less.idempotency_key);

ALTER TABLE queue_sent_mail DROP CONSTRAINT queue_sent_mail_pkey;

ALTER TABLE queue_sent_mail ADD PRIMARY KEY (message_id);

-- What the server said: for good or not, and its enhanced status code.
ALTER TABLE queue_sent_mail
ADD COLUMN is_hard boolean NOT NULL DEFAULT false,
ADD COLUMN reply_status varchar(20) NOT NULL DEFAULT '';

CREATE INDEX queue_sent_mail_updated ON queue_sent_mail USING brin (updated);

-- What is left of attempts whose files were deleted: one row a day, queue and end.
CREATE TABLE queue_log_summaries (
    day date NOT NULL,
    queue_name varchar(100) NOT NULL,
    status varchar(20) NOT NULL,
    attempts bigint NOT NULL,
    duration_seconds double precision NOT NULL,
    longest_seconds double precision NOT NULL,
    waited_seconds double precision NOT NULL,
    PRIMARY KEY (day, queue_name, status)
);
