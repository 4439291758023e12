-- The ledger of sent mail: one row a message.

-- name: sending_of
-- How far a message came, and by which job.
SELECT idempotency_key AS key, state, reply_code, reply_status, is_hard, updated AS at
FROM queue_sent_mail
WHERE message_id = %(message_id)s;

-- name: about_to_send
-- The point of no return. No row back: somebody was here before; only an order to send anew takes over what was never answered.
INSERT INTO queue_sent_mail (message_id, idempotency_key, state) VALUES (%(message_id)s, %(key)s, 'sending')
ON CONFLICT (message_id) DO UPDATE
SET idempotency_key = EXCLUDED.idempotency_key, updated = now()
WHERE %(resend)s AND queue_sent_mail.state = 'sending' AND queue_sent_mail.idempotency_key <> EXCLUDED.idempotency_key
RETURNING message_id;

-- name: settle
-- What the server said to it.
INSERT INTO queue_sent_mail (message_id, idempotency_key, state, reply_code, reply_status, is_hard)
VALUES (%(message_id)s, %(key)s, %(state)s, %(reply_code)s, %(reply_status)s, %(is_hard)s)
ON CONFLICT (message_id) DO UPDATE
SET state = EXCLUDED.state,
    reply_code = EXCLUDED.reply_code,
    reply_status = EXCLUDED.reply_status,
    is_hard = EXCLUDED.is_hard,
    updated = now()
WHERE queue_sent_mail.idempotency_key = EXCLUDED.idempotency_key AND queue_sent_mail.state = 'sending'
RETURNING updated AS at;

-- name: not_sent
-- The server said that it did not take it for now: it may be offered again.
DELETE FROM queue_sent_mail
WHERE message_id = %(message_id)s AND idempotency_key = %(key)s AND state = 'sending';

-- name: count_old_sent
-- Rows of messages that say themselves that they were sent. What was never answered stays.
SELECT count(*) FROM queue_sent_mail WHERE updated < %(before)s AND state <> 'sending';

-- name: forget_sent
-- A batch of them goes.
DELETE FROM queue_sent_mail
WHERE ctid = ANY(
        ARRAY(SELECT ctid FROM queue_sent_mail WHERE updated < %(before)s AND state <> 'sending' LIMIT %(batch)s)
    )
    AND updated < %(before)s
    AND state <> 'sending';
