-- Life of a process: one row, one lease.

-- name: register
-- A process's first sign of life. Its id is new at every start, so that no late message of a former one can fit.
INSERT INTO workers (id, kind, lease_expires, slots, queue_names)
VALUES (%(id)s, %(kind)s, now() + make_interval(secs => %(lease_seconds)s), %(slots)s, %(queue_names)s::varchar []);

-- name: renew
-- No row back: the process was declared dead and must stop what it does.
UPDATE workers
SET lease_expires = now() + make_interval(secs => %(lease_seconds)s), renewed = now(), busy = %(busy)s
WHERE id = %(id)s AND NOT dead
RETURNING id;

-- name: sign_off
-- A process leaves in good order. What it still has (nothing, if the order was good) is reclaimed at the next sweep.
UPDATE workers SET dead = true, lease_expires = now() WHERE id = %(id)s;

-- name: mark_dead
-- First half of reaping. The row lock settles it with a renewal under way: one of the two comes second and sees the other.
UPDATE workers
SET dead = true
WHERE NOT dead AND lease_expires < now()
RETURNING id;

-- name: dead_workers
-- Processes whose Redis lists are to be cleared away.
SELECT id FROM workers WHERE kind = 'worker' AND dead ORDER BY id;

-- name: forget_dead
-- Removes the rows of the long dead that own nothing.
DELETE FROM workers
WHERE dead
    AND lease_expires < now() - make_interval(secs => %(keep_seconds)s)
    AND NOT EXISTS (SELECT FROM jobs WHERE jobs.worker_id = workers.id AND jobs.status = 'running');

-- name: living_workers
-- Processes that may have reserved something in Redis.
SELECT id FROM workers WHERE kind = 'worker' AND NOT dead ORDER BY id;
