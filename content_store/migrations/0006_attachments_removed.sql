-- A listed attachment knows whether it is stored apart, and when it went before its message.

ALTER TABLE attachments ADD COLUMN stored_as varchar(500) COLLATE "C";
ALTER TABLE attachments ADD COLUMN removed_at timestamptz;
COMMENT ON COLUMN attachments.stored_as IS 'Storage key of a large one that is stored apart; empty: it is in its message.';
COMMENT ON COLUMN attachments.removed_at IS 'When its own time was over; its message stays.';
CREATE INDEX attachments_stored_as ON attachments (stored_as) WHERE stored_as IS NOT NULL;
