-- The ledger of sent mail.

-- name: state_of
-- How far an earlier run came.
SELECT state FROM queue_sent_mail WHERE idempotency_key = %(key)s;

-- name: about_to_send
-- The point of no return. No row back: an earlier run was here before.
INSERT INTO queue_sent_mail (idempotency_key, message_id, state) VALUES (%(key)s, %(message_id)s, 'sending')
ON CONFLICT DO NOTHING
RETURNING idempotency_key;

-- name: settle
-- What the server said to it.
INSERT INTO queue_sent_mail (idempotency_key, message_id, state, reply_code)
VALUES (%(key)s, %(message_id)s, %(state)s, %(reply_code)s)
ON CONFLICT (idempotency_key) DO UPDATE
SET state = EXCLUDED.state, reply_code = EXCLUDED.reply_code, updated = now();

-- name: not_sent
-- The server said that it did not take it for now: it may be offered again.
DELETE FROM queue_sent_mail WHERE idempotency_key = %(key)s AND state = 'sending';
