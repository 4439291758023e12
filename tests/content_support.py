"""What the tests of the content tier share: stores of a test's own, messages, and a small hand-over area.

The hand-over area is a real one, on PostgreSQL, with the same claim semantics as the OLTP tier's, so that the content
tier can be tested without that tier.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg
from pydantic import SecretStr

from penguinmails.content_store.index import migrate
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores, resolve

TENANT_A = UUID("01900000-0000-7000-8000-00000000000a")
TENANT_B = UUID("01900000-0000-7000-8000-00000000000b")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

_SCHEMA = """
CREATE SCHEMA hand_over_area;
CREATE TABLE hand_over_area.bodies (
    message_id uuid PRIMARY KEY, tenant_id uuid NOT NULL, created timestamptz NOT NULL, direction text NOT NULL,
    message_type text NOT NULL, correspondent text NOT NULL, raw_message bytea, storage_key text, stored_at timestamptz,
    claimed_by uuid, campaign_id uuid);
CREATE INDEX ON hand_over_area.bodies (created, message_id) WHERE stored_at IS NULL;
CREATE INDEX ON hand_over_area.bodies (tenant_id, created, message_id) WHERE stored_at IS NULL;
CREATE INDEX ON hand_over_area.bodies (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX ON hand_over_area.bodies (stored_at) WHERE stored_at IS NOT NULL;
ALTER TABLE hand_over_area.bodies ALTER COLUMN raw_message SET STORAGE EXTERNAL;
"""


@dataclass(frozen=True)
class Body:
    tenant_id: UUID
    message_id: UUID
    created: datetime
    direction: str
    message_type: str
    correspondent: str
    raw_message: bytes


@dataclass(frozen=True)
class Waiting:
    messages: int
    size_bytes: int
    oldest_at: datetime | None


def make_template(url: SecretStr) -> None:
    """Migrates the template database and adds the hand-over area."""
    migrate(dataclasses.replace(resolve(), content_url=url))
    with psycopg.connect(url.get_secret_value()) as connection:
        connection.execute(_SCHEMA)


def stores_of(url: SecretStr, bucket: Bucket, home: Path) -> Stores:
    """Stores of one test: its own database, bucket and keys folder."""
    return dataclasses.replace(resolve(), home=home, content_url=url, bucket=bucket.address)


def connect_to_index(url: SecretStr) -> psycopg.Connection[Any]:
    """A connection that sees every tenant's rows, as the content service's own do."""
    return psycopg.connect(url.get_secret_value(), autocommit=True, options="-c app.works_for=all_tenants")


class HandOverArea:
    """`MessageBodies` on PostgreSQL. An owner is alive as long as its session holds its advisory lock."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self.connection: psycopg.Connection[Any] = connect_to_index(url)
        self._owners: set[UUID] = set()

    def close(self) -> None:
        self.connection.close()

    def forget_owner(self) -> None:
        """Lets go of the locks that show an owner to be alive, as the end of its process does."""
        self.connection.execute("SELECT pg_advisory_unlock_all()")
        self._owners.clear()

    def add(self, *bodies: Body) -> None:
        with self.connection.cursor() as cursor, cursor.copy("COPY hand_over_area.bodies FROM STDIN") as copy:
            for item in bodies:
                copy.write_row(
                    [
                        *(
                            getattr(item, name)
                            for name in (
                                "message_id",
                                "tenant_id",
                                "created",
                                "direction",
                                "message_type",
                                "correspondent",
                                "raw_message",
                            )
                        ),
                        None,
                        None,
                        None,
                        None,
                    ]
                )

    def backlog(self, day: date | None = None, *, tenant_id: UUID | None = None) -> Waiting:
        row = self.connection.execute(
            "SELECT count(*), coalesce(sum(length(raw_message)), 0), min(created) FROM hand_over_area.bodies"
            " WHERE stored_at IS NULL AND (%(day)s::date IS NULL OR (created AT TIME ZONE 'UTC')::date = %(day)s)"
            " AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)",
            {"day": day, "tenant": tenant_id},
        ).fetchone()
        return Waiting(*row)

    def claim(self, owner: UUID, *, max_messages: int, max_bytes: int, day: date | None = None) -> list[Body]:
        if owner not in self._owners:
            self.connection.execute("SELECT pg_advisory_lock(hashtext(%s), 7)", [str(owner)])
            self._owners.add(owner)
        self.connection.execute(
            "UPDATE hand_over_area.bodies SET claimed_by = NULL WHERE claimed_by IS NOT NULL AND stored_at IS NULL"
            " AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid = (hashtext(claimed_by::text)::bigint & 4294967295)::oid)"
        )
        statement = """
            WITH one AS (
                SELECT tenant_id FROM hand_over_area.bodies WHERE stored_at IS NULL AND claimed_by IS NULL
                    AND (%(day)s::date IS NULL OR (created AT TIME ZONE 'UTC')::date = %(day)s)
                ORDER BY created, message_id LIMIT 1
            ), free AS (
                SELECT message_id, length(raw_message) AS size FROM hand_over_area.bodies JOIN one USING (tenant_id)
                WHERE stored_at IS NULL AND claimed_by IS NULL
                    AND (%(day)s::date IS NULL OR (created AT TIME ZONE 'UTC')::date = %(day)s)
                ORDER BY created, message_id LIMIT %(max_messages)s FOR UPDATE OF bodies SKIP LOCKED
            ), summed AS (
                SELECT message_id, size, sum(size) OVER (ORDER BY message_id) AS total FROM free
            )
            UPDATE hand_over_area.bodies SET claimed_by = %(owner)s FROM summed
            WHERE bodies.message_id = summed.message_id AND (total <= %(max_bytes)s OR total = size)
            RETURNING tenant_id, bodies.message_id, created, direction, message_type, correspondent, raw_message
            """
        limits = {"owner": owner, "max_messages": max_messages, "max_bytes": max_bytes, "day": day}
        # A connection of its own, as the OLTP tier's: libpq keeps the room that the biggest row took.
        with connect_to_index(self._url) as connection:
            return [Body(*row) for row in connection.execute(statement, limits, binary=True)]

    def mark_stored(self, stored: Sequence[tuple[UUID, UUID, str]]) -> None:
        self.connection.execute(
            "UPDATE hand_over_area.bodies SET storage_key = named.key, claimed_by = NULL,"
            " stored_at = coalesce(stored_at, now())"
            " FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS named (tenant_id, message_id, key)"
            " WHERE bodies.tenant_id = named.tenant_id AND bodies.message_id = named.message_id",
            ["{" + ",".join(str(row[place]) for row in stored) + "}" for place in range(3)],
        )

    def release(self, owner: UUID) -> None:
        self.connection.execute("UPDATE hand_over_area.bodies SET claimed_by = NULL WHERE claimed_by = %s", [owner])
        self.connection.execute("SELECT pg_advisory_unlock(hashtext(%s), 7)", [str(owner)])
        self._owners.discard(owner)

    def remove_stored(self, stored_before: datetime, *, limit: int) -> int:
        return self.connection.execute(
            "UPDATE hand_over_area.bodies SET raw_message = NULL WHERE message_id IN (SELECT message_id"
            " FROM hand_over_area.bodies WHERE stored_at < %s AND raw_message IS NOT NULL LIMIT %s)",
            [stored_before, limit],
        ).rowcount

    def body(self, message_id: UUID) -> bytes | None:
        row = self.connection.execute(
            "SELECT raw_message FROM hand_over_area.bodies WHERE message_id = %s", [message_id]
        ).fetchone()
        return row[0] if row else None

    def storage_keys(self) -> Iterator[list[tuple[UUID, UUID, str]]]:
        page = self.connection.execute(
            "SELECT tenant_id, message_id, storage_key FROM hand_over_area.bodies WHERE storage_key IS NOT NULL"
            " ORDER BY tenant_id, message_id"
        ).fetchall()
        if page:
            yield page

    def messages_of(
        self,
        tenant_id: UUID,
        *,
        campaign_id: UUID | None = None,
        address: str | None = None,
        taken_in_by: datetime | None = None,
        after: UUID | None,
        limit: int,
    ) -> list[UUID]:
        rows = self.connection.execute(
            "SELECT message_id FROM hand_over_area.bodies WHERE tenant_id = %(tenant)s AND message_id > %(after)s"
            " AND (%(campaign)s::uuid IS NULL OR campaign_id = %(campaign)s)"
            " AND (%(address)s::text IS NULL OR correspondent = lower(trim(%(address)s)))"
            " AND (%(by)s::timestamptz IS NULL OR created <= %(by)s)"
            " AND (storage_key IS NOT NULL OR raw_message IS NOT NULL) ORDER BY message_id LIMIT %(limit)s",
            {
                "tenant": tenant_id,
                "campaign": campaign_id,
                "address": address,
                "by": taken_in_by,
                "after": after or UUID(int=0),
                "limit": limit,
            },
        ).fetchall()
        return [row[0] for row in rows]

    def still_here(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> set[UUID]:
        rows = self.connection.execute(
            "SELECT message_id FROM hand_over_area.bodies WHERE tenant_id = %s AND message_id = ANY(%s)"
            " AND raw_message IS NOT NULL",
            [tenant_id, list(message_ids)],
        ).fetchall()
        return {row[0] for row in rows}

    def drop_bodies(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> int:
        named = [tenant_id, list(message_ids)]
        here = len(self.still_here(tenant_id, message_ids))
        of_them = "WHERE tenant_id = %s AND message_id = ANY(%s)"
        self.connection.execute(f"DELETE FROM hand_over_area.bodies {of_them} AND storage_key IS NULL", named)
        self.connection.execute(f"UPDATE hand_over_area.bodies SET raw_message = NULL {of_them}", named)
        return here

    def unstored(self) -> int:
        return self.backlog().messages


def message_id(number: int, tenant_id: UUID = TENANT_A) -> UUID:
    """A message id that is the same in every process."""
    return uuid5(tenant_id, str(number))


def mail(number: int, *, words: int = 60) -> bytes:
    """A small message; the same for the same number."""
    dice = random.Random(number)
    text = " ".join(
        dice.choice(("please", "let", "us", "know", "about", "your", "offer", "and", "price")) for _ in range(words)
    )
    tag = hashlib.sha256(str(number).encode()).hexdigest()
    return (
        f"From: Sales <sales@tenant.example>\r\nTo: Lead {number} <lead{number}@example.net>\r\n"
        f"Subject: Quick question {number}\r\nMessage-ID: <{tag}@tenant.example>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\nHi,\r\n\r\n{text}\r\n\r\nBest,\r\nSales\r\n{tag}\r\n"
    ).encode()


def bodies(
    count: int, *, tenant_id: UUID = TENANT_A, created: datetime = NOON, direction: str = "outbound"
) -> list[Body]:
    """That many messages of one tenant."""
    return [
        Body(
            tenant_id,
            message_id(number, tenant_id),
            created,
            direction,
            "email",
            f"lead{number}@example.net",
            mail(number),
        )
        for number in range(count)
    ]
