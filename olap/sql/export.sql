-- Taking published marts elsewhere. Names in braces come from the declarations (marts.py); `{only}` is one tenant or everything.

-- name: tenant
SELECT 1 FROM executive_business_summary WHERE tenant_id = CAST($tenant_id AS UUID);

-- name: write
COPY (SELECT * FROM {mart} WHERE {only} ORDER BY {key}) TO {path} ({options});

-- name: attach
ATTACH {path} AS exported (READ_WRITE, STORAGE_VERSION {storage_version});

-- name: copy
CREATE TABLE exported.{mart} AS SELECT * FROM {mart} WHERE {only} ORDER BY {key};

-- name: comment
COMMENT ON TABLE exported.{mart} IS {comment};

-- name: comment_on_column
COMMENT ON COLUMN exported.{mart}.{column} IS {comment};

-- name: metrics
CREATE TABLE exported.metrics AS SELECT * FROM metrics;

-- name: detach
DETACH exported;
