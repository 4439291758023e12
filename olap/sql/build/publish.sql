-- What the build knows of publications: the days to reconcile before the next, and what changed since the last.

-- name: touched_days
SELECT DISTINCT day FROM touched_days ORDER BY day;

-- name: forget_touched_days
DELETE FROM touched_days;

-- name: published_file
-- The publication that changes are counted from, and how many were built upon it; none after everything was made anew.
SELECT number, increments FROM published_file WHERE declarations = $declarations;

-- name: forget_published_file
DELETE FROM published_file;

-- name: remember_published_file
INSERT INTO published_file VALUES ($number, $increments, $declarations);

-- name: forget_unpublished
DELETE FROM unpublished_{name};
