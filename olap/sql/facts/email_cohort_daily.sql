-- What became, whenever, of the messages sent on each day: the grain for rates.
SELECT
    tenant_id,
    CAST(sent_at AS DATE) AS sent_day,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type,
    CAST(COALESCE(SUM(sign) FILTER (WHERE sent_at IS NOT NULL), 0) AS BIGINT) AS sent,
    CAST(COALESCE(SUM(sign) FILTER (WHERE delivered_at IS NOT NULL), 0) AS BIGINT) AS delivered,
    CAST(COALESCE(SUM(sign) FILTER (WHERE opened_at IS NOT NULL), 0) AS BIGINT) AS opened_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE clicked_at IS NOT NULL), 0) AS BIGINT) AS clicked_tracked,
    CAST(COALESCE(SUM(sign) FILTER (WHERE replied_at IS NOT NULL), 0) AS BIGINT) AS replied,
    CAST(COALESCE(SUM(sign) FILTER (WHERE bounced_at IS NOT NULL), 0) AS BIGINT) AS bounced,
    CAST(COALESCE(SUM(sign) FILTER (WHERE unsubscribed_at IS NOT NULL), 0) AS BIGINT) AS unsubscribed,
    CAST(COALESCE(SUM(sign) FILTER (WHERE complained_at IS NOT NULL), 0) AS BIGINT) AS spam_complaints
FROM signed_facts
WHERE sent_at IS NOT NULL
GROUP BY
    tenant_id,
    CAST(sent_at AS DATE),
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type
