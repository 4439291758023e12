-- What the published file says of its marts. Names in braces come from the declarations (marts.py).

-- name: columns
SELECT column_name, data_type, comment
FROM duckdb_columns()
WHERE table_name = $mart AND NOT internal;

-- name: duplicate_keys
SELECT COUNT(*) FROM (SELECT {key} FROM {mart} GROUP BY {key} HAVING COUNT(*) > 1);
