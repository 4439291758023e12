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
    {counts_of_messages}
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
