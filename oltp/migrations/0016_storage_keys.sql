-- A storage key leads to a body in the content tier, whoever names it: a tenant that wrote another's key into a message of its own
-- would be sent the other's body. So only the hand-over writes storage keys, as only the database writes xid.

SET LOCAL ROLE pm_owner;

DO $columns$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    INTO columns
    FROM pg_attribute
    WHERE attrelid = 'email_messages'::regclass
      AND attnum > 0
      AND NOT attisdropped
      AND attname NOT IN ('xid', 'content_storage_key');
    REVOKE INSERT (content_storage_key), UPDATE ON email_messages FROM pm_app;
    EXECUTE format('GRANT UPDATE (%s) ON email_messages TO pm_app', columns);
END
$columns$;

RESET ROLE;
