-- What an engine made, on this machine. `made` is its answer, as Arrow.

-- name: keep
CREATE TABLE {name} AS SELECT * FROM made;
