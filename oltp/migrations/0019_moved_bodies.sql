-- Where a body is kept is nothing that marts know: noting it must not send every message through the next extraction again. Only the
-- hand-over writes it, and with it nothing that they know.

SET LOCAL ROLE pm_owner;

DROP TRIGGER note_transaction ON email_messages;

-- The condition is looked at without calling the function: a statement that sets xid itself does not pay for it.
CREATE TRIGGER note_transaction
    BEFORE UPDATE ON email_messages
    FOR EACH ROW
    WHEN (
        NEW.xid IS DISTINCT FROM pg_current_xact_id()
        AND NEW.content_storage_key IS NOT DISTINCT FROM OLD.content_storage_key
    )
    EXECUTE FUNCTION app.note_transaction();

RESET ROLE;
