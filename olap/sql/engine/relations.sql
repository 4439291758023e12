-- What the SELECTs of facts and marts read, made from the landing zone alone, without the build: for engines other than
-- DuckDB. `landed_<table>` holds every landed row of the chain with the number of its batch. DuckDB's dialect; rendered
-- for the engine.

-- name: latest
-- The newest version of every row of a table that is followed by its changes; a whole read takes the place of all before.
SELECT {columns}
FROM landed_{table}
WHERE batch >= {whole}
QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY batch DESC) = 1

-- name: whole
SELECT {columns} FROM landed_{table} WHERE batch = {whole}

-- name: email_messages
-- References are empty where what they named was deleted, and a deleted tenant is gone with everything.
SELECT
    message.tenant_id,
    message.message_id,
    message.company_id,
    message.email_account_id,
    campaigns.campaign_id,
    campaign_sequence_steps.campaign_sequence_step_id,
    leads.lead_id,
    message.direction,
    message.message_type,
    message.erased_at
FROM latest_email_messages AS message
JOIN tenants
    ON message.tenant_id = tenants.tenant_id
LEFT JOIN campaigns
    ON message.tenant_id = campaigns.tenant_id AND message.campaign_id = campaigns.campaign_id
LEFT JOIN campaign_sequence_steps
    ON
        message.tenant_id = campaign_sequence_steps.tenant_id
        AND message.campaign_sequence_step_id = campaign_sequence_steps.campaign_sequence_step_id
LEFT JOIN leads
    ON message.tenant_id = leads.tenant_id AND message.lead_id = leads.lead_id

-- name: of_a_tenant
SELECT row.*
FROM latest_{table} AS row
JOIN tenants
    ON row.tenant_id = tenants.tenant_id

-- name: position
SELECT CAST('{as_of}' AS TIMESTAMP) AS as_of

-- name: events_by_day
-- In the terms of sql/postgresql/reconciliation.sql; in the engine's own dialect, since DuckDB reads numbers otherwise.
-- LPAD changes nothing: Sail's CONV takes its kind of text only.
SELECT
    tenant_id,
    CAST(occurred_at AS DATE) AS day,
    COUNT(*) AS rows,
    BIT_XOR(CAST(CONV(LPAD(RIGHT(event_id, 12), 12, '0'), 16, 10) AS BIGINT)) AS checksum
FROM email_events
GROUP BY tenant_id, CAST(occurred_at AS DATE)
