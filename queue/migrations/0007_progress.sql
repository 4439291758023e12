-- How far the handler of a job says it is; of the newest run, and kept when that has ended.
ALTER TABLE jobs
ADD COLUMN progress real CHECK (progress BETWEEN 0 AND 1),
ADD COLUMN progress_note varchar(200);

COMMENT ON COLUMN jobs.progress IS 'Share of the work that is done, 0 to 1, as its handler says.';
COMMENT ON COLUMN jobs.progress_note IS 'What the handler is at. No personal data.';

-- Says how far a job is. False: it was cancelled or taken away, so stop without any further effect.
CREATE FUNCTION queue_progress(job uuid, generation bigint, worker uuid, share real, note text DEFAULT '') RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    WITH noted AS (
        UPDATE jobs
        SET progress = least(1, greatest(0, share)), progress_note = left(queue_clean_error(note), 200), updated = now()
        WHERE id = job AND gen = generation AND status = 'running' AND worker_id = worker
        RETURNING id
    )
    SELECT count(*) = 1 FROM noted
$$;
