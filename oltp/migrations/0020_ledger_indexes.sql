-- Every look-up of a header reads the list of entries that wait to be put into the index: for a batch of 500 that is 500 times a list
-- of up to 4 MB. Without it an insert costs a little more, once.

SET LOCAL ROLE pm_owner;

ALTER INDEX mail_intake_thread_index SET (fastupdate = off);

SELECT gin_clean_pending_list('mail_intake_thread_index');

-- A person's erasure looks into the bytes of what could not be loaded; that is little, and was looked for in the whole ledger.
CREATE INDEX mail_intake_set_aside_index ON mail_intake (tenant_id) WHERE raw_message IS NOT NULL;

RESET ROLE;
