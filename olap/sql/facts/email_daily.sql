-- What happened on each day, counted where the message belongs. A message counts once per measure, on the day it first happened.
SELECT
    tenant_id,
    day,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type,
    {counts_of_touches}
FROM first_touches
GROUP BY
    tenant_id,
    day,
    company_id,
    campaign_id,
    campaign_sequence_step_id,
    email_account_id,
    direction,
    message_type
