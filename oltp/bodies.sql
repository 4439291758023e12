-- The hand-over of bodies to the content tier.

-- name: backlog
SELECT
    count(*) AS messages,
    coalesce(sum(octet_length(raw_message)), 0)::bigint AS size_bytes,
    min(created) AS oldest_at
FROM email_message_bodies
WHERE stored_at IS NULL
  AND (%(tenant_id)s::uuid IS NULL OR tenant_id = %(tenant_id)s)
  AND created >= coalesce(%(from_time)s::timestamptz, '-infinity')
  AND created < coalesce(%(to_time)s::timestamptz, 'infinity');

-- name: live
-- Held by the session of a living owner.
SELECT pg_advisory_lock(hashtextextended('penguinmails.oltp.bodies ' || %(owner)s::uuid::text, 0));

-- name: stop_living
SELECT pg_advisory_unlock(hashtextextended('penguinmails.oltp.bodies ' || %(owner)s::uuid::text, 0));

-- name: one_claims_at_a_time
SELECT pg_advisory_xact_lock(hashtextextended('penguinmails.oltp.bodies', 0));

-- name: free_claims_of_the_dead
-- Whoever can take an owner's lock knows that the owner is gone.
WITH owners AS MATERIALIZED (
    SELECT DISTINCT claimed_by
    FROM email_message_body_claims
),
dead AS MATERIALIZED (
    SELECT claimed_by
    FROM owners
    WHERE pg_try_advisory_xact_lock(hashtextextended('penguinmails.oltp.bodies ' || claimed_by::text, 0))
)
DELETE FROM email_message_body_claims AS claims
USING dead
WHERE claims.claimed_by = dead.claimed_by;

-- name: claim
-- Claims the oldest bodies of the tenant that has waited longest, up to where another claim begins: no two have a body in common.
WITH longest_waiting AS (
    SELECT bodies.tenant_id, bodies.created, bodies.message_id
    FROM email_message_bodies AS bodies
    WHERE bodies.stored_at IS NULL
      AND bodies.created >= coalesce(%(from_time)s::timestamptz, '-infinity')
      AND bodies.created < coalesce(%(to_time)s::timestamptz, 'infinity')
      AND NOT EXISTS (
          SELECT
          FROM email_message_body_claims AS claims
          WHERE claims.tenant_id = bodies.tenant_id
            AND (bodies.created, bodies.message_id) >= (claims.first_created, claims.first_message_id)
            AND (bodies.created, bodies.message_id) <= (claims.last_created, claims.last_message_id)
      )
    ORDER BY bodies.created, bodies.message_id
    LIMIT 1
),
next_claim AS (
    SELECT claims.first_created, claims.first_message_id
    FROM email_message_body_claims AS claims
    JOIN longest_waiting ON longest_waiting.tenant_id = claims.tenant_id
    WHERE (claims.first_created, claims.first_message_id) > (longest_waiting.created, longest_waiting.message_id)
    ORDER BY claims.first_created, claims.first_message_id
    LIMIT 1
),
candidates AS (
    SELECT bodies.tenant_id, bodies.message_id, bodies.created, octet_length(bodies.raw_message) AS size_bytes
    FROM email_message_bodies AS bodies
    JOIN longest_waiting
        ON longest_waiting.tenant_id = bodies.tenant_id
        AND (bodies.created, bodies.message_id) >= (longest_waiting.created, longest_waiting.message_id)
    WHERE bodies.stored_at IS NULL
      AND bodies.created < coalesce(%(to_time)s::timestamptz, 'infinity')
      AND NOT EXISTS (
          SELECT
          FROM next_claim
          WHERE (bodies.created, bodies.message_id) >= (next_claim.first_created, next_claim.first_message_id)
      )
    ORDER BY bodies.created, bodies.message_id
    LIMIT %(max_messages)s
),
measured AS (
    SELECT
        tenant_id, message_id, created,
        sum(size_bytes) OVER (ORDER BY created, message_id) AS bytes_so_far,
        row_number() OVER (ORDER BY created, message_id) AS place
    FROM candidates
),
claimed AS (
    SELECT tenant_id, message_id, created, place, max(place) OVER () AS last_place
    FROM measured
    WHERE bytes_so_far <= %(max_bytes)s
       OR place = 1
)
INSERT INTO email_message_body_claims (
    tenant_id, claimed_by, first_created, first_message_id, last_created, last_message_id, messages
)
SELECT
    first.tenant_id, %(owner)s, first.created, first.message_id, last.created, last.message_id, last.place
FROM claimed AS first
JOIN claimed AS last ON last.place = last.last_place
WHERE first.place = 1
RETURNING tenant_id, first_created, first_message_id, last_created, last_message_id, messages;

-- name: claimed_bodies
-- In the order of its index, so that none of them is moved to be sorted. What came in between since is over the limit: it
-- waits for the next claim.
SELECT bodies.message_id, bodies.created, bodies.raw_message
FROM email_message_bodies AS bodies
WHERE bodies.tenant_id = %(tenant_id)s
  AND (bodies.created, bodies.message_id) >= (%(first_created)s, %(first_message_id)s)
  AND (bodies.created, bodies.message_id) <= (%(last_created)s, %(last_message_id)s)
  AND bodies.stored_at IS NULL
ORDER BY bodies.created, bodies.message_id
LIMIT %(messages)s;

-- name: claimed_messages
-- The bounds leave the other months out, and the planner without a choice that reads all messages of the tenant.
SELECT
    messages.id, messages.direction, messages.message_type,
    coalesce(CASE messages.direction WHEN 'inbound' THEN messages.from_email ELSE messages.to_email END, '')
        AS correspondent
FROM email_messages AS messages
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.id BETWEEN %(lowest_id)s AND %(highest_id)s
  AND messages.id = ANY(%(message_ids)s::uuid[]);

-- name: mark_messages_stored
-- The transaction is not noted: extractions do not read where a body is kept. The bounds as in claimed_messages.
UPDATE email_messages AS messages
SET content_storage_key = stored.storage_key, updated = now()
FROM unnest(%(tenant_ids)s::uuid[], %(message_ids)s::uuid[], %(storage_keys)s::text[])
    AS stored (tenant_id, message_id, storage_key)
WHERE messages.tenant_id = stored.tenant_id
  AND messages.id = stored.message_id
  AND messages.id BETWEEN %(lowest_id)s AND %(highest_id)s
  AND messages.content_storage_key IS DISTINCT FROM stored.storage_key;

-- name: mark_bodies_stored
-- The first time stays, so that marking again does not prolong the grace.
UPDATE email_message_bodies AS bodies
SET stored_at = coalesce(bodies.stored_at, now())
FROM unnest(%(tenant_ids)s::uuid[], %(message_ids)s::uuid[]) AS stored (tenant_id, message_id)
WHERE bodies.tenant_id = stored.tenant_id
  AND bodies.message_id = stored.message_id;

-- name: release
DELETE FROM email_message_body_claims
WHERE claimed_by = %(owner)s;

-- name: remove_stored
-- The predicate is looked at again by the DELETE itself.
WITH oldest AS (
    SELECT tenant_id, message_id
    FROM email_message_bodies
    WHERE stored_at < %(stored_before)s
    ORDER BY stored_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM email_message_bodies AS bodies
USING oldest
WHERE bodies.tenant_id = oldest.tenant_id
  AND bodies.message_id = oldest.message_id
  AND bodies.stored_at < %(stored_before)s;

-- name: body
SELECT raw_message
FROM email_message_bodies
WHERE message_id = %(message_id)s;

-- name: storage_keys
-- One page of all messages, in the order of the primary key: months in which few are stored would be read anew for each page of
-- those that are.
SELECT tenant_id, id, content_storage_key
FROM email_messages
WHERE (tenant_id, id) > (%(after_tenant_id)s, %(after_id)s)
ORDER BY tenant_id, id
LIMIT %(limit)s;

-- name: messages_of_tenant
-- Bodies one by one (OFFSET 0), here and below: for a page the planner would rather read all that wait.
SELECT messages.id
FROM email_messages AS messages
LEFT JOIN LATERAL (
    SELECT message_id, created
    FROM email_message_bodies
    WHERE tenant_id = messages.tenant_id
      AND message_id = messages.id
    OFFSET 0
) AS bodies ON true
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.id > %(after)s
  AND (messages.content_storage_key IS NOT NULL OR bodies.message_id IS NOT NULL)
  AND coalesce(bodies.created, messages.created) <= coalesce(%(taken_in_by)s::timestamptz, 'infinity')
ORDER BY messages.id
LIMIT %(limit)s;

-- name: messages_of_campaign
SELECT messages.id
FROM email_messages AS messages
LEFT JOIN LATERAL (
    SELECT message_id, created
    FROM email_message_bodies
    WHERE tenant_id = messages.tenant_id
      AND message_id = messages.id
    OFFSET 0
) AS bodies ON true
WHERE messages.tenant_id = %(tenant_id)s
  AND messages.campaign_id = %(campaign_id)s
  AND messages.id > %(after)s
  AND (messages.content_storage_key IS NOT NULL OR bodies.message_id IS NOT NULL)
  AND coalesce(bodies.created, messages.created) <= coalesce(%(taken_in_by)s::timestamptz, 'infinity')
ORDER BY messages.id
LIMIT %(limit)s;

-- name: messages_of_person
-- One index for each direction; a condition on either column would use none.
WITH sent_or_received AS (
    SELECT id
    FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND from_email = %(address)s
      AND id > %(after)s
    UNION
    SELECT id
    FROM email_messages
    WHERE tenant_id = %(tenant_id)s
      AND to_email = %(address)s
      AND id > %(after)s
)
SELECT messages.id
FROM sent_or_received
JOIN email_messages AS messages ON messages.tenant_id = %(tenant_id)s AND messages.id = sent_or_received.id
LEFT JOIN LATERAL (
    SELECT message_id, created
    FROM email_message_bodies
    WHERE tenant_id = messages.tenant_id
      AND message_id = messages.id
    OFFSET 0
) AS bodies ON true
WHERE (messages.content_storage_key IS NOT NULL OR bodies.message_id IS NOT NULL)
  AND coalesce(bodies.created, messages.created) <= coalesce(%(taken_in_by)s::timestamptz, 'infinity')
ORDER BY messages.id
LIMIT %(limit)s;

-- name: still_here
SELECT message_id
FROM email_message_bodies
WHERE tenant_id = %(tenant_id)s
  AND message_id = ANY(%(message_ids)s);

-- name: drop_bodies
-- In the order of their keys, as everybody who locks many: fewer deadlocks.
WITH named AS (
    SELECT tenant_id, message_id
    FROM email_message_bodies
    WHERE tenant_id = %(tenant_id)s
      AND message_id = ANY(%(message_ids)s)
    ORDER BY message_id
    FOR UPDATE
)
DELETE FROM email_message_bodies AS bodies
USING named
WHERE bodies.tenant_id = named.tenant_id
  AND bodies.message_id = named.message_id;
