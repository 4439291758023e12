-- Making everything anew out of the landing zone, in one transaction. A file stands in a folder named for its batch.

-- name: fill
-- A table of which one batch holds all; it has been emptied.
INSERT INTO {table} SELECT {typed_columns} FROM read_parquet($files);

-- name: no_removed_tenants
CREATE OR REPLACE TEMP TABLE removed_tenants (
    tenant_id UUID NOT NULL,
    removed_in BIGINT NOT NULL
);

-- name: removed_tenants
-- Tenants that are no more, with the first batch that lacks them: what came before it goes with them.
INSERT INTO removed_tenants
WITH seen AS (
    SELECT
        CAST(tenant_id AS UUID) AS tenant_id,
        MAX(CAST(PARSE_PATH(filename)[-2] AS BIGINT)) AS last_seen_in
    FROM read_parquet($files, filename = true, union_by_name = true)
    GROUP BY ALL
)
SELECT
    seen.tenant_id,
    MIN(batches.batch) AS removed_in
FROM seen
JOIN (SELECT UNNEST($batches) AS batch) AS batches
    ON batches.batch > seen.last_seen_in
GROUP BY seen.tenant_id;

-- name: later_rows
-- Rows of the batches that follow the base.
CREATE OR REPLACE TEMP TABLE later_rows AS
WITH landed AS (
    SELECT
        {typed_columns},
        CAST(PARSE_PATH(filename)[-2] AS BIGINT) AS batch
    FROM read_parquet($files, filename = true, union_by_name = true)
)
SELECT landed.*
FROM landed
LEFT JOIN removed_tenants AS removed
    ON landed.tenant_id = removed.tenant_id
WHERE batch >= COALESCE(removed.removed_in, 0){replaced_days};

-- name: no_later_rows
CREATE OR REPLACE TEMP TABLE later_rows AS
SELECT *, CAST(NULL AS BIGINT) AS batch FROM {table} LIMIT 0;

-- name: repeated_hashes
-- Keys whose hashes all differ all differ: then there is nothing to choose between.
SELECT COUNT(*) - COUNT(DISTINCT HASH({key})) FROM later_rows;

-- name: newest_rows
CREATE OR REPLACE TEMP TABLE later_rows AS
SELECT *
FROM later_rows
QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY batch DESC) = 1;

-- name: base_rows
-- Rows of the base that no later batch has anew.
INSERT INTO {table}
WITH landed AS (
    SELECT
        {typed_columns},
        {base} AS batch
    FROM read_parquet($files)
)
SELECT {columns}
FROM landed
ANTI JOIN later_rows USING ({key})
WHERE tenant_id NOT IN (SELECT tenant_id FROM removed_tenants){replaced_days};

-- name: put_later_rows
INSERT INTO {table} SELECT {columns} FROM later_rows;

-- name: clear_references
-- What the operational database does itself (ON DELETE SET NULL), without the message counting as changed there.
UPDATE email_messages SET {column} = NULL
WHERE
    {column} IS NOT NULL
    AND NOT EXISTS (
        SELECT 1
        FROM {named} AS named
        WHERE named.tenant_id = email_messages.tenant_id AND named.{column} = email_messages.{column}
    );

-- name: remember_every_day
INSERT INTO touched_days
SELECT DISTINCT CAST(occurred_at AS DATE) AS day FROM email_events;

-- name: count
SELECT COUNT(*) FROM {table};

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

-- name: fill_fact
INSERT INTO {table} {select};

-- name: empty
DELETE FROM {table};
