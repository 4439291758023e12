-- Ticks of schedules.

-- name: claim_tick
-- The first to come has the tick; another waits for its transaction and then gets no row.
INSERT INTO queue_ticks (schedule_name, tick, job_id) VALUES (%(schedule_name)s, %(tick)s, %(job_id)s)
ON CONFLICT DO NOTHING
RETURNING job_id;

-- name: job_of_tick
-- The job a tick had.
SELECT job_id FROM queue_ticks WHERE schedule_name = %(schedule_name)s AND tick = %(tick)s;

-- name: count_old_ticks
-- Ticks nobody will come back to.
SELECT count(*) FROM queue_ticks WHERE tick < %(before)s;

-- name: forget_ticks
-- A batch of them goes.
DELETE FROM queue_ticks
WHERE ctid = ANY(ARRAY(SELECT ctid FROM queue_ticks WHERE tick < %(before)s LIMIT %(batch)s))
    AND tick < %(before)s;
