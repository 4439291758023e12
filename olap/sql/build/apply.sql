-- Bringing one batch into the build, in one transaction. Names in braces are tables and columns from the declarations.

-- name: removed
-- Rows of a table read whole that are there no more.
CREATE OR REPLACE TEMP TABLE removed_{table} AS
SELECT {key} FROM {table}
EXCEPT
SELECT {typed_key} FROM read_parquet($files);

-- name: removed_all
CREATE OR REPLACE TEMP TABLE removed_{table} AS
SELECT {key} FROM {table};

-- name: clear_reference
-- What the operational database does itself (ON DELETE SET NULL), without the message counting as changed there.
UPDATE changed_email_messages SET {column} = NULL
FROM {removed} AS removed
WHERE changed_email_messages.tenant_id = removed.tenant_id AND changed_email_messages.{column} = removed.{column};

-- name: messages_that_lose_a_reference
INSERT INTO changed_email_messages
SELECT {cleared_columns}
FROM email_messages AS message
SEMI JOIN {removed} AS removed USING (tenant_id, {column})
ANTI JOIN changed_email_messages AS changed USING (tenant_id, message_id);

-- name: remove_tenants
-- A tenant that is deleted is gone with everything, sums included.
DELETE FROM {table} WHERE tenant_id IN (SELECT tenant_id FROM removed_tenants);

-- name: gone_events
-- Events of days that were read whole and that are there no more.
CREATE OR REPLACE TEMP TABLE gone_events AS
SELECT tenant_id, event_id, occurred_at, message_id
FROM email_events
ANTI JOIN (
    SELECT
        CAST(tenant_id AS UUID) AS tenant_id,
        CAST(event_id AS UUID) AS event_id,
        occurred_at
    FROM read_parquet($files)
) AS arrived USING (tenant_id, event_id, occurred_at)
WHERE occurred_at >= $from_time AND occurred_at < $to_time;

-- name: all_events_gone
CREATE OR REPLACE TEMP TABLE gone_events AS
SELECT tenant_id, event_id, occurred_at, message_id
FROM email_events
WHERE occurred_at >= $from_time AND occurred_at < $to_time;

-- name: no_events_gone
CREATE OR REPLACE TEMP TABLE gone_events AS
SELECT tenant_id, event_id, occurred_at, message_id FROM email_events LIMIT 0;

-- name: delete_gone_events
DELETE FROM email_events
USING gone_events AS gone
WHERE
    email_events.tenant_id = gone.tenant_id
    AND email_events.event_id = gone.event_id
    AND email_events.occurred_at = gone.occurred_at;

-- name: changed
-- What really differs from what is known: a row may come again unchanged.
CREATE OR REPLACE TEMP TABLE {changed} AS
WITH arrived AS (
    SELECT {typed_columns} FROM read_parquet($files)
)
SELECT {columns} FROM arrived
EXCEPT
SELECT {columns} FROM {table} SEMI JOIN arrived USING ({key});

-- name: nothing_changed
CREATE OR REPLACE TEMP TABLE {changed} AS
SELECT {columns} FROM {table} LIMIT 0;

-- name: count
SELECT COUNT(*) FROM {table};

-- name: delete_changed
DELETE FROM {table} USING {changed} WHERE {same_key};

-- name: insert_changed
INSERT INTO {table} SELECT {columns} FROM {changed};

-- name: touched_messages
-- Messages whose facts may differ after this batch; asked before the changes go in, so that an event that changed hands
-- touches both.
CREATE OR REPLACE TEMP TABLE touched_messages AS
SELECT tenant_id, message_id FROM changed_email_messages
UNION
SELECT tenant_id, message_id FROM changed_email_events
UNION
SELECT tenant_id, message_id
FROM email_events
SEMI JOIN changed_email_events USING (tenant_id, event_id, occurred_at)
UNION
SELECT tenant_id, message_id FROM gone_events;

-- name: remember_touched_days
INSERT INTO touched_days
SELECT day
FROM (
    SELECT CAST(occurred_at AS DATE) AS day FROM changed_email_events
    UNION
    SELECT CAST(occurred_at AS DATE) AS day FROM gone_events
)
WHERE day NOT IN (SELECT day FROM touched_days);

-- name: touched_events_in_scope
CREATE OR REPLACE TEMP TABLE events_in_scope AS
SELECT * FROM email_events SEMI JOIN touched_messages USING (tenant_id, message_id);

-- name: touched_messages_in_scope
CREATE OR REPLACE TEMP TABLE messages_in_scope AS
SELECT * FROM email_messages SEMI JOIN touched_messages USING (tenant_id, message_id);

-- name: examined_events
CREATE OR REPLACE TEMP TABLE examined_events AS {select};

-- name: differences
-- The facts of the touched messages as they were, to be taken away, and as they are now, to be added.
CREATE OR REPLACE TEMP TABLE signed_facts AS
WITH current_facts AS (
    {select}
)
SELECT *, -1 AS sign FROM message_facts SEMI JOIN touched_messages USING (tenant_id, message_id)
UNION ALL
SELECT *, 1 AS sign FROM current_facts;

-- name: delete_touched_facts
DELETE FROM message_facts
USING touched_messages AS touched
WHERE message_facts.tenant_id = touched.tenant_id AND message_facts.message_id = touched.message_id;

-- name: insert_touched_facts
INSERT INTO message_facts SELECT * EXCLUDE (sign) FROM signed_facts WHERE sign = 1;

-- name: delete_touched_quarantine
DELETE FROM quarantined_events
USING touched_messages AS touched
WHERE quarantined_events.tenant_id = touched.tenant_id AND quarantined_events.message_id = touched.message_id;

-- name: insert_quarantine
INSERT INTO quarantined_events {select};

-- name: first_touches
CREATE OR REPLACE TEMP TABLE first_touches AS {select};

-- name: fact_difference
CREATE OR REPLACE TEMP TABLE difference AS {select};

-- name: fact_concerned
-- The rows that the difference concerns, as they are, and which they are.
CREATE OR REPLACE TEMP TABLE concerned AS
SELECT fact.rowid AS row_number, {columns_of_fact}
FROM {table} AS fact
JOIN difference
    ON {same_key};

-- name: fact_merged
-- The same as they are to be; a row in which nothing is left to count goes.
CREATE OR REPLACE TEMP TABLE merged AS
WITH summands AS (
    SELECT {columns} FROM concerned
    UNION ALL
    SELECT {columns} FROM difference
)
SELECT {key}, {sums}
FROM summands
GROUP BY {key}
HAVING {anything};

-- name: fact_delete
DELETE FROM {table} WHERE rowid IN (SELECT row_number FROM concerned);

-- name: fact_insert
INSERT INTO {table} SELECT {columns} FROM merged;

-- name: fact_unpublished
INSERT INTO unpublished_{table} SELECT {key} FROM difference;

-- name: forget_position
DELETE FROM position;

-- name: set_position
INSERT INTO position VALUES ($batch, $snapshot, $system_identifier, $timeline, $as_of, $definitions);
