-- What every mailbox did on each day; warm-up mail does not count.
SELECT
    tenant_id,
    email_account_id,
    day,
    CAST(SUM(sent) AS BIGINT) AS sent,
    CAST(SUM(delivered) AS BIGINT) AS delivered,
    CAST(SUM(opened_tracked) AS BIGINT) AS opened_tracked,
    CAST(SUM(clicked_tracked) AS BIGINT) AS clicked_tracked,
    CAST(SUM(replied) AS BIGINT) AS replied,
    CAST(SUM(bounced) AS BIGINT) AS bounced,
    CAST(SUM(unsubscribed) AS BIGINT) AS unsubscribed,
    CAST(SUM(spam_complaints) AS BIGINT) AS spam_complaints
FROM email_daily
WHERE direction = 'outbound' AND message_type <> 'warmup'
GROUP BY
    tenant_id,
    email_account_id,
    day
