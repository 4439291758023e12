-- The private build file: what was read, what was made of it, and how far. Only the process that holds the lock opens it.
-- The tables of the sources and of the daily facts are made from their declarations (sources.py, facts.py).

-- name: position
-- One row: the last batch in this file, and the fingerprint of the definitions that made it.
CREATE TABLE position (
    batch BIGINT NOT NULL,
    snapshot VARCHAR NOT NULL,
    system_identifier VARCHAR NOT NULL,
    timeline BIGINT NOT NULL,
    as_of TIMESTAMP NOT NULL,
    definitions VARCHAR NOT NULL
);

-- name: touched_days
-- Days of the events that batches brought and that have not been reconciled since.
CREATE TABLE touched_days (
    day DATE NOT NULL
);

-- name: published_file
-- One row while a publication can be built upon: its number, how many publications were built upon a whole one since, and
-- the fingerprint of the declarations it was made by. The keys that changed since are in the tables unpublished_<fact>.
CREATE TABLE published_file (
    number BIGINT NOT NULL,
    increments BIGINT NOT NULL,
    declarations VARCHAR NOT NULL
);

-- name: message_facts
CREATE TABLE message_facts (
    tenant_id UUID NOT NULL,
    message_id UUID NOT NULL,
    company_id UUID,
    email_account_id UUID,
    campaign_id UUID,
    campaign_sequence_step_id UUID,
    lead_id UUID,
    direction VARCHAR,
    message_type VARCHAR,
    sent_at TIMESTAMP,
    delivered_at TIMESTAMP,
    opened_at TIMESTAMP,
    clicked_at TIMESTAMP,
    replied_at TIMESTAMP,
    bounced_at TIMESTAMP,
    unsubscribed_at TIMESTAMP,
    complained_at TIMESTAMP
);

-- name: quarantined_events
CREATE TABLE quarantined_events (
    tenant_id UUID NOT NULL,
    event_id UUID NOT NULL,
    message_id UUID,
    event_type VARCHAR,
    occurred_at TIMESTAMP NOT NULL,
    reason VARCHAR NOT NULL
);
