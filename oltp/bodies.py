"""The hand-over area seen from outside: bodies are claimed, marked stored, removed, and read while they are still here.

Belongs here: the implementation of the port `message_bodies`. Does not belong here: packing and storing bodies.

An owner proves that it lives by a session lock of PostgreSQL: when its process dies, the server frees the lock at once and
its claims are anybody's. That needs a direct connection (or a session pooler), which is what pipelines have.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row

from penguinmails.oltp.connections import Connection, Role, connect, settled, take_role
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "bodies.sql")
_PAGE = 5_000


@dataclass(frozen=True)
class Backlog:
    """Bodies that wait for the content tier.

    Args:
        messages: how many.
        size_bytes: their raw size.
        oldest_at: when the oldest came in; None when none waits.
    """

    messages: int
    size_bytes: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class BodyToStore:
    """One body with what the content tier needs to know about it.

    Args:
        created: when it came in.
        correspondent: the other party's address; for counting distinct ones in memory, never to be stored.
        raw_message: the original message, bit for bit.
    """

    tenant_id: UUID
    message_id: UUID
    created: datetime
    direction: str
    message_type: str
    correspondent: str
    raw_message: bytes

    def __repr__(self) -> str:
        return f"BodyToStore({self.tenant_id}, {self.message_id}, {len(self.raw_message)} bytes)"


class MessageBodies:
    """Access of the content tier to bodies. Safe to use from several threads."""

    def __init__(self, stores: Stores) -> None:
        self._url = stores.oltp_url
        self._alive: Connection | None = None
        self._owners: set[UUID] = set()
        self._lock = threading.Lock()
        self._forget: weakref.finalize[..., MessageBodies] | None = None

    def backlog(self, day: date | None = None, *, tenant_id: UUID | None = None) -> Backlog:
        """Counts what waits, of one UTC day of coming in or altogether, of one tenant or of all."""
        values = {"tenant_id": tenant_id, **_bounds(day)}
        with connect(self._url, Role.LOADER) as connection, connection.cursor(row_factory=class_row(Backlog)) as cursor:
            found = cursor.execute(_QUERIES["backlog"], values).fetchone()
        return found or Backlog(0, 0, None)

    def claim(self, owner: UUID, *, max_messages: int, max_bytes: int, day: date | None = None) -> list[BodyToStore]:
        """Takes waiting bodies of one tenant, the oldest first; an empty list says that nothing waits.

        Args:
            owner: who claims; its claims live as long as this process.
            max_messages: at most so many.
            max_bytes: at most so many raw bytes, but always one body.
            day: only of this UTC day of coming in.
        """
        self._stay_alive(owner)
        limits = {"owner": owner, "max_messages": max_messages, "max_bytes": max_bytes, **_bounds(day)}
        with connect(self._url, Role.LOADER) as connection:
            while claimed := _claim(connection, limits):
                if bodies := _claimed(connection, claimed):
                    return bodies
                # All of them were erased in between; there may be others.
        return []

    def mark_stored(self, stored: Sequence[tuple[UUID, UUID, str]]) -> None:
        """Notes the storage keys (tenant, message, key); the bodies stay until remove_stored()."""
        values = {
            **_bounded([message_id for _, message_id, _ in stored]),
            "tenant_ids": _uuids([tenant_id for tenant_id, _, _ in stored]),
            "storage_keys": _texts([storage_key for _, _, storage_key in stored]),
        }
        with connect(self._url, Role.LOADER) as connection:

            def mark() -> None:
                connection.execute(_QUERIES["mark_messages_stored"], values)
                connection.execute(_QUERIES["mark_bodies_stored"], values)

            settled(connection, mark)

    def release(self, owner: UUID) -> None:
        """Gives back what the owner claimed and did not store."""
        with connect(self._url, Role.LOADER) as connection:
            connection.execute(_QUERIES["release"], {"owner": owner})
        with self._lock:
            self._owners.discard(owner)
            if self._alive is not None and not self._owners:
                self._alive.close()
                self._alive = None
            elif self._alive is not None:
                try:
                    self._alive.execute(_QUERIES["stop_living"], {"owner": owner})
                except psycopg.OperationalError:  # the server ended the session, and with it all its locks
                    self._alive.close()

    def remove_stored(self, stored_before: datetime, *, limit: int) -> int:
        """Deletes at most `limit` bodies that were marked stored before a time; returns how many."""
        with connect(self._url, Role.LOADER) as connection:
            return connection.execute(
                _QUERIES["remove_stored"], {"stored_before": stored_before, "limit": limit}
            ).rowcount

    def body(self, message_id: UUID) -> bytes | None:
        """Returns a body that is still here."""
        with connect(self._url, Role.LOADER) as connection:
            row = connection.execute(_QUERIES["body"], {"message_id": message_id}, binary=True).fetchone()
        return bytes(row[0]) if row else None

    def storage_keys(self) -> Iterator[list[tuple[UUID, UUID, str]]]:
        """Yields all references into the content tier (tenant, message, key), a page at a time, in order of both ids."""
        after = (UUID(int=0), UUID(int=0))
        while True:
            values = {"after_tenant_id": after[0], "after_id": after[1], "limit": _PAGE}
            with connect(self._url, Role.LOADER) as connection:
                page = connection.execute(_QUERIES["storage_keys"], values).fetchall()
            if not page:
                return
            after = page[-1][:2]
            if stored := [row for row in page if row[2] is not None]:
                yield stored

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
        """Returns ids of a tenant's messages that have a body, here or in the content tier; a page in order of id.

        Args:
            campaign_id: only this campaign's.
            address: only those from or to this address; instead of a campaign.
            taken_in_by: only what had come in by then.
            after: last id of the page before; None for the first page.
            limit: size of the page.
        """
        if campaign_id is not None and address is not None:
            raise ValueError("a campaign or an address, not both")
        query = "messages_of_campaign" if campaign_id else "messages_of_person" if address else "messages_of_tenant"
        values = {
            "tenant_id": tenant_id,
            "campaign_id": campaign_id,
            "address": address.strip().lower() if address else None,
            "taken_in_by": taken_in_by,
            "after": after or UUID(int=0),
            "limit": limit,
        }
        with connect(self._url, Role.LOADER) as connection:
            return [row[0] for row in connection.execute(_QUERIES[query], values)]

    def still_here(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> set[UUID]:
        """Returns those of a tenant's messages whose body is still here, handed over or not."""
        values = {"tenant_id": tenant_id, "message_ids": list(message_ids)}
        with connect(self._url, Role.LOADER) as connection:
            return {row[0] for row in connection.execute(_QUERIES["still_here"], values)}

    def drop_bodies(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> int:
        """Removes bodies of a tenant's messages for ever, handed over or not; returns how many were here."""
        values = {"tenant_id": tenant_id, "message_ids": list(message_ids)}
        with connect(self._url, Role.LOADER) as connection:
            return settled(connection, lambda: connection.execute(_QUERIES["drop_bodies"], values).rowcount)

    def _stay_alive(self, owner: UUID) -> None:
        with self._lock:
            if self._alive is None or self._alive.closed:
                alive = psycopg.connect(self._url.get_secret_value(), autocommit=True)
                take_role(alive, Role.LOADER)
                self._alive = alive
                self._owners.clear()
                self._forget = weakref.finalize(self, alive.close)
            if owner not in self._owners:
                self._alive.execute(_QUERIES["live"], {"owner": owner})
                self._owners.add(owner)


def _claim(connection: Connection, limits: dict[str, Any]) -> dict[str, Any] | None:
    """Makes a claim, if anything waits; bodies are read afterwards, so that who reads slowly keeps nobody from claiming."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_QUERIES["one_claims_at_a_time"])
        cursor.execute(_QUERIES["free_claims_of_the_dead"])
        return cursor.execute(_QUERIES["claim"], limits).fetchone()


def _claimed(connection: Connection, claim: dict[str, Any]) -> list[BodyToStore]:
    """Returns the bodies of a claim that are still there."""
    tenant_id: UUID = claim["tenant_id"]
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        bodies = cursor.execute(_QUERIES["claimed_bodies"], claim).fetchall()
        if not bodies:
            return []
        values = {"tenant_id": tenant_id, **_bounded([message_id for message_id, _, _ in bodies])}
        about: dict[UUID, tuple[str, str, str]] = {
            row[0]: (row[1], row[2], row[3]) for row in cursor.execute(_QUERIES["claimed_messages"], values)
        }
    return [
        BodyToStore(tenant_id, message_id, created, *about[message_id], raw_message)
        for message_id, created, raw_message in bodies
        if message_id in about
    ]


def _bounded(message_ids: Sequence[UUID]) -> dict[str, Any]:
    """Returns messages as statements take them that leave the other months out."""
    return {
        "message_ids": _uuids(message_ids),
        "lowest_id": min(message_ids, default=None),
        "highest_id": max(message_ids, default=None),
    }


def _uuids(values: Sequence[UUID]) -> str:
    """Returns an array as PostgreSQL writes it: psycopg looks at each element of a list, which takes ten times as long."""
    return "{" + ",".join([value.hex for value in values]) + "}"


def _texts(values: Sequence[str]) -> str:
    """Returns an array as `_uuids` does."""
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"


def _bounds(day: date | None) -> dict[str, datetime | None]:
    if day is None:
        return {"from_time": None, "to_time": None}
    start = datetime.combine(day, time(), UTC)
    return {"from_time": start, "to_time": start + timedelta(days=1)}
