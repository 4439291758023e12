-- The OLAP tier finds what is new by `xid`, the transaction that wrote a row. So nobody but the database may say it:
-- every change of a message gets the present transaction (also a change that a foreign key makes, when a campaign is deleted),
-- and the application has no right to name one when it inserts. Not a trigger on INSERT: COPY would then go row by row.

SET LOCAL ROLE pm_owner;

CREATE FUNCTION app.note_transaction() RETURNS trigger
    LANGUAGE plpgsql SET search_path = ''
AS $body$
BEGIN
    NEW.xid := pg_catalog.pg_current_xact_id();
    RETURN NEW;
END
$body$;

COMMENT ON FUNCTION app.note_transaction() IS
    'Trigger: the changed row belongs to the present transaction, so that the next extraction sees it.';

REVOKE EXECUTE ON FUNCTION app.note_transaction() FROM PUBLIC;

-- The condition is looked at without calling the function: a statement that sets xid itself does not pay for it.
CREATE TRIGGER note_transaction
    BEFORE UPDATE ON email_messages
    FOR EACH ROW
    WHEN (NEW.xid IS DISTINCT FROM pg_current_xact_id())
    EXECUTE FUNCTION app.note_transaction();

DO $inserts$
DECLARE
    log_table text;
    columns text;
BEGIN
    FOREACH log_table IN ARRAY ARRAY['email_messages', 'email_events', 'admin_audit_events'] LOOP
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        INTO columns
        FROM pg_attribute
        WHERE attrelid = log_table::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'xid';
        EXECUTE format('REVOKE INSERT ON %I FROM pm_app', log_table);
        EXECUTE format('GRANT INSERT (%s) ON %I TO pm_app', columns, log_table);
    END LOOP;
END
$inserts$;

-- Cost allocation reads what servers and addresses cost.
GRANT SELECT ON vps_instances, smtp_ip_addresses TO pm_reader;

RESET ROLE;
