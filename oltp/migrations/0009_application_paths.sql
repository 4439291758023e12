-- What statements of the application need besides tables: the time in an id, and Stripe's way to a tenant.

SET LOCAL ROLE pm_owner;

-- With a constant argument it is folded when the statement is planned, so that old partitions are never looked at.
CREATE FUNCTION app.uuidv7_time(id uuid) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    RETURN to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0);

COMMENT ON FUNCTION app.uuidv7_time(uuid) IS
    'Time in the first 48 bits of a version 7 id: nothing that happened to the thing happened before it.';

GRANT EXECUTE ON FUNCTION app.uuidv7_time(uuid) TO pm_app, pm_platform, pm_loader, pm_reader, pm_staff;

GRANT CREATE ON SCHEMA app TO pm_reader;

SET LOCAL ROLE pm_reader;

CREATE FUNCTION app.tenant_of_subscription(stripe_id text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
    SELECT subscriptions.tenant_id
    FROM public.subscriptions
    WHERE subscriptions.stripe_subscription_id = stripe_id
    ORDER BY subscriptions.created DESC
    LIMIT 1
$body$;

COMMENT ON FUNCTION app.tenant_of_subscription(text) IS
    'Tenant of a subscription that Stripe names: a webhook knows no tenant. It then opens a session of that tenant.';

REVOKE EXECUTE ON FUNCTION app.tenant_of_subscription(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.tenant_of_subscription(text) TO pm_platform;

SET LOCAL ROLE pm_owner;

REVOKE CREATE ON SCHEMA app FROM pm_reader;

-- A page of a mailbox, newest first: few messages come in, so their index is small.
CREATE INDEX email_messages_inbox_index ON email_messages (tenant_id, email_account_id, id DESC)
    WHERE direction = 'inbound';

RESET ROLE;
