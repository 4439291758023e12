-- What is known of every lead beside its mail.
SELECT
    lead.tenant_id,
    lead.lead_id,
    lead.status,
    billing.billing_id
FROM leads AS lead
LEFT JOIN billing_periods AS billing
    ON lead.tenant_id = billing.tenant_id AND billing.is_newest
