-- Making the file that readers get. Names in braces come from the declarations (marts.py) and from this release.

-- name: attach
ATTACH {path} AS published (STORAGE_VERSION {storage_version});

-- name: detach
DETACH published;

-- name: mart
-- Marts may be made from marts before them, under their names.
CREATE OR REPLACE TEMP VIEW {name} AS {select};

-- name: create_table
CREATE TABLE published.{name} ({columns});

-- name: fill
-- In the order of the key: readers that ask for one tenant or one day read little.
INSERT INTO published.{name} SELECT {names} FROM {name} ORDER BY {key};

-- name: create_view
CREATE VIEW published.{name} AS {select};

-- name: comment
COMMENT ON {type} published.{name} IS {comment};

-- name: comment_on_column
COMMENT ON COLUMN published.{name}.{column} IS {comment};

-- name: meta_table
-- One row: which state of the operational database these marts show.
CREATE TABLE published._meta (
    number BIGINT NOT NULL,
    published_at TIMESTAMP NOT NULL,
    as_of TIMESTAMP NOT NULL,
    batch BIGINT NOT NULL,
    snapshot VARCHAR NOT NULL,
    system_identifier VARCHAR NOT NULL,
    timeline BIGINT NOT NULL,
    definitions VARCHAR NOT NULL
);

-- name: fill_meta
INSERT INTO published._meta
SELECT $number, $published_at, as_of, batch, snapshot, system_identifier, timeline, definitions FROM position;

-- name: mart_table
-- One row a mart: what was published of it.
CREATE TABLE published._marts (
    mart VARCHAR NOT NULL,
    grain VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    rows BIGINT NOT NULL,
    checksum UBIGINT NOT NULL
);

-- name: fill_mart_of_view
-- A view has no content of its own.
INSERT INTO published._marts
SELECT $mart, $grain, $description, COUNT(*), 0 FROM published.{name};

-- name: fill_mart
INSERT INTO published._marts
SELECT $mart, $grain, $description, COUNT(*), COALESCE(BIT_XOR(HASH(mart)), 0) FROM published.{name} AS mart;

-- name: count
SELECT COUNT(*) FROM published.{name};

-- name: metric_table
-- The semantic layer: what each number means, how it comes about and in which marts it stands.
CREATE TABLE published.metrics (
    metric VARCHAR NOT NULL,
    formula VARCHAR NOT NULL,
    numerator VARCHAR,
    denominator VARCHAR,
    unit VARCHAR NOT NULL,
    grains VARCHAR [] NOT NULL,
    marts VARCHAR [] NOT NULL,
    description VARCHAR NOT NULL
);

-- name: fill_metrics
INSERT INTO published.metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: quarantine_table
CREATE TABLE published.quarantine_summary (
    tenant_id UUID NOT NULL,
    day DATE NOT NULL,
    reason VARCHAR NOT NULL,
    events BIGINT NOT NULL
);

-- name: fill_quarantine
INSERT INTO published.quarantine_summary
SELECT
    tenant_id,
    CAST(occurred_at AS DATE) AS day,
    reason,
    COUNT(*) AS events
FROM quarantined_events
GROUP BY ALL
ORDER BY ALL;

-- name: freshness_view
CREATE VIEW published.marts_freshness AS
SELECT
    marts.mart,
    marts.rows,
    meta.as_of,
    meta.published_at,
    ROUND(EPOCH(NOW()) - EPOCH(meta.as_of), 1) AS age_seconds
FROM published._marts AS marts
CROSS JOIN published._meta AS meta
ORDER BY marts.mart;

-- name: repeated_hashes
-- Keys whose hashes all differ all differ, which takes half as long to see.
SELECT COUNT(*) - COUNT(DISTINCT HASH({key})) FROM published.{name};

-- name: duplicate_keys
SELECT COUNT(*) FROM (SELECT {key} FROM published.{name} GROUP BY {key} HAVING COUNT(*) > 1);

-- name: empty
DELETE FROM published.{name};

-- name: delete_touched
DELETE FROM published.{name} AS fact USING unpublished_{name} AS touched WHERE {same_key};

-- name: fill_touched
INSERT INTO published.{name}
SELECT {names}
FROM {name} AS fact
WHERE EXISTS (SELECT 1 FROM unpublished_{name} AS touched WHERE {same_key});

-- name: duplicate_touched_keys
SELECT COUNT(*)
FROM (
    SELECT {key}
    FROM published.{name} AS fact
    WHERE EXISTS (SELECT 1 FROM unpublished_{name} AS touched WHERE {same_key})
    GROUP BY {key}
    HAVING COUNT(*) > 1
);

-- name: touched_scope
-- A mart that follows a fact reads it through this view, so that it can be made of touched rows only.
CREATE OR REPLACE TEMP VIEW {fact}_in_scope AS
SELECT fact.*
FROM {fact} AS fact
WHERE EXISTS (SELECT 1 FROM unpublished_{fact} AS touched WHERE {same_key_of_fact});

-- name: whole_scope
CREATE OR REPLACE TEMP VIEW {fact}_in_scope AS
SELECT * FROM {fact};

-- name: delete_following
DELETE FROM published.{name} AS mart USING unpublished_{fact} AS touched WHERE {same_key};

-- name: change_states
UPDATE published.{name} AS mart SET {assignments}
FROM {states} AS state
WHERE {same_state_key} AND ({differs});

-- name: change_updated
UPDATE published.{name} SET updated = (SELECT as_of FROM position);
