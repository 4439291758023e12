-- What is in the quarantine of the build.

-- name: by_reason
SELECT
    reason,
    COUNT(*) AS events
FROM quarantined_events
GROUP BY reason;

-- name: events
SELECT COUNT(*) FROM email_events;
