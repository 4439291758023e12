-- How columns are read that are not simply there, and which rows (sources.py). `penguinmails erase` keeps the row of a lead whose
-- person was erased, with an address that says so: here that person is nobody. The beginning of an address is looked at
-- first, because that costs least and settles almost all.

-- name: lead_is_a_person
NOT (email ^@ 'erased-' AND email = 'erased-' || id || '@erased.invalid');

-- name: lead_of_a_message
-- The message stays, whom it was exchanged with does not. The list refers to nothing outside: it is made once a read.
CASE
    WHEN NOT lead_id IN (
        SELECT id FROM leads WHERE email ^@ 'erased-' AND email = 'erased-' || id || '@erased.invalid'
    ) THEN lead_id
END;

-- name: person_of_a_message_erased_at
CASE
    WHEN lead_id IN (
        SELECT id FROM leads WHERE email ^@ 'erased-' AND email = 'erased-' || id || '@erased.invalid'
    ) THEN (
        SELECT lead.updated
        FROM leads AS lead
        WHERE lead.tenant_id = email_messages.tenant_id AND lead.id = email_messages.lead_id
    )
END;
