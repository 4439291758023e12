-- Making all facts anew from everything that was read, with the same SELECTs that a batch is applied with.

-- name: events_in_scope
CREATE OR REPLACE TEMP VIEW events_in_scope AS SELECT * FROM email_events;

-- name: messages_in_scope
CREATE OR REPLACE TEMP VIEW messages_in_scope AS SELECT * FROM email_messages;

-- name: examined_events
CREATE OR REPLACE TEMP VIEW examined_events AS {select};

-- name: signed_facts
CREATE OR REPLACE TEMP VIEW signed_facts AS SELECT *, 1 AS sign FROM message_facts;

-- name: first_touches
CREATE OR REPLACE TEMP VIEW first_touches AS {select};

-- name: fill
INSERT INTO {table} {select};

-- name: empty
DELETE FROM {table};
