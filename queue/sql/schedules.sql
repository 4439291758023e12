-- Ticks of schedules.

-- name: claim_tick
-- The first to come has the tick; another waits for its transaction and then gets no row.
INSERT INTO queue_ticks (schedule_name, tick, job_id) VALUES (%(schedule_name)s, %(tick)s, %(job_id)s)
ON CONFLICT DO NOTHING
RETURNING job_id;

-- name: job_of_tick
-- The job a tick had.
SELECT job_id FROM queue_ticks WHERE schedule_name = %(schedule_name)s AND tick = %(tick)s;

-- name: forget_ticks
-- Ticks nobody will come back to.
DELETE FROM queue_ticks WHERE tick < %(before)s;
