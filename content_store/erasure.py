"""Erasure of messages, of a person, or of a tenant: unreadable at commit, bytes gone within 30 days, proven.

A request is recorded first, then carried out a page at a time; what a legal hold blocks waits and is carried out when the
hold is released. `run_erasures` does everything that is due, from wherever a run before it stopped: drop the keys, see
whether compaction has removed the bytes, certify both.

Belongs here: requests and their progress, suppression. Does not belong here: removing bytes (compaction.py).
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from penguinmails.content_store.certificates import add_certificate
from penguinmails.content_store.deletion import PAGE, QUERIES, Destroyed, Reason, destroy, lock_tenant
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.keys import FIRST_GENERATION, KeyRing, key_source
from penguinmails.content_store.storage_layout import ids_of
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

GONE_WITHIN = timedelta(days=30)
"""By then the bytes have left the object store; compaction takes them up earlier (compaction.ERASED_AFTER)."""


@dataclass(frozen=True)
class ErasureState:
    """Where one request stands."""

    request_id: UUID
    tenant_id: UUID
    scope: str
    requested_at: datetime
    messages: int
    blocked: int
    """Messages that a legal hold keeps; they go when it is released."""
    bytes_left: int
    """Messages whose unreadable bytes are still in the object store."""
    effective: bool
    gone: bool


def request_erasure(
    stores: Stores,
    tenant_id: UUID,
    *,
    clock: Callable[[], datetime],
    storage_keys: Sequence[str] | None = None,
    address: str | None = None,
) -> UUID:
    """Records a request, carried out by `run_erasures`: the named messages, or with None all the tenant has now.

    Args:
        storage_keys: what to erase; messages that still wait to be handed over may be among them.
        address: of a person; suppressed for ever from now on, as a keyed hash. Their messages are `storage_keys`.

    Raises:
        InputError: a storage key is another tenant's, or an address comes without messages.
    """
    if storage_keys is None and address is not None:
        raise InputError("erasure of a person", "names no messages", "Name the messages exchanged with that person.")
    foreign = [name for name in storage_keys or () if ids_of(name)[0] != tenant_id]
    if foreign:
        raise InputError(f"{len(foreign)} storage keys", "belong to another tenant", "Nothing was recorded.")
    request_id, now = uuid.uuid4(), clock()
    scope = "tenant" if storage_keys is None else "person" if address is not None else "messages"
    values: dict[str, Any] = {"request_id": request_id, "tenant_id": tenant_id, "scope": scope, "now": now}
    with typed_errors(), connect(stores) as connection:
        hashed = _address_hash(stores, connection, tenant_id, address, now=now) if address is not None else None
        with connection.transaction():
            connection.execute(QUERIES["request_erasure"], values)
            for start in range(0, len(storage_keys or ()), PAGE):
                page = list((storage_keys or ())[start : start + PAGE])
                connection.execute(QUERIES["name_messages"], {**values, "storage_keys": page})
            if hashed is not None:
                connection.execute(QUERIES["suppress"], {"tenant_id": tenant_id, "address_hash": hashed, "now": now})
    return request_id


def run_erasures(
    stores: Stores, *, clock: Callable[[], datetime], at_step: Callable[[], None] = lambda: None
) -> list[ErasureState]:
    """Carries out every request as far as it can be now; returns where each stands. Safe to run at any time.

    Args:
        at_step: called after each transaction.
    """
    states = []
    with typed_errors(), connect(stores) as connection:
        for request_id, tenant_id, scope, requested_at, effective_at in connection.execute(
            QUERIES["open_erasures"]
        ).fetchall():
            request = _Request(request_id, tenant_id, scope, requested_at)
            if effective_at is None:
                _drop_keys(connection, request, clock, at_step)
            states.append(_certify(connection, request, effective_at, clock(), at_step))
    return states


def is_suppressed(stores: Stores, tenant_id: UUID, address: str, *, clock: Callable[[], datetime]) -> bool:
    """Returns whether the tenant must not write to this address again."""
    with typed_errors(), connect(stores) as connection:
        hashed = _address_hash(stores, connection, tenant_id, address, now=clock())
        row = connection.execute(QUERIES["is_suppressed"], {"tenant_id": tenant_id, "address_hash": hashed}).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True)
class _Request:
    request_id: UUID
    tenant_id: UUID
    scope: str
    requested_at: datetime

    @property
    def values(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "tenant_id": self.tenant_id, "requested_at": self.requested_at}


def _drop_keys(
    connection: Connection, request: _Request, clock: Callable[[], datetime], at_step: Callable[[], None]
) -> Destroyed:
    """Destroys what is named and not held, a page at a time."""
    named = request.scope != "tenant"
    query = QUERIES["page_of_named" if named else "page_of_tenant"]
    after, done = "", Destroyed()
    while True:
        rows = connection.execute(query, {**request.values, "after": after, "limit": PAGE}).fetchall()
        page = [name for (name,) in rows]
        if not page:
            return done
        with connection.transaction():
            lock_tenant(connection, request.tenant_id)
            if named:
                connection.execute(
                    QUERIES["leave_tombstones"], {**request.values, "storage_keys": page, "now": clock()}
                )
            done += destroy(connection, request.tenant_id, page, reason=Reason.ERASURE, now=clock())
        after = page[-1]
        at_step()


def _certify(
    connection: Connection,
    request: _Request,
    effective_at: datetime | None,
    now: datetime,
    at_step: Callable[[], None],
) -> ErasureState:
    """Says what is true now, and certifies the two turning points in the transaction that finds them."""
    query = QUERIES["progress_of_tenant" if request.scope == "tenant" else "progress_of_named"]
    with connection.transaction():
        lock_tenant(connection, request.tenant_id)
        messages, left_over, bytes_left = connection.execute(query, request.values).fetchone() or (0, 0, 0)
        effective = left_over == 0
        gone = effective and bytes_left == 0
        if effective and effective_at is None:
            _turning_point(connection, request, "erasure_is_effective", "unreadable", messages, now)
        if gone:
            _turning_point(connection, request, "erasure_is_complete", "bytes gone", messages, now)
            connection.execute(QUERIES["forget_items"], request.values)
    at_step()
    return ErasureState(
        request.request_id,
        request.tenant_id,
        request.scope,
        request.requested_at,
        messages,
        left_over,
        bytes_left,
        effective,
        gone,
    )


def _turning_point(
    connection: Connection, request: _Request, query: str, state: str, messages: int, now: datetime
) -> None:
    if connection.execute(QUERIES[query], {**request.values, "now": now}).rowcount == 0:
        return  # another run was here first and has certified it
    add_certificate(
        connection,
        request.tenant_id,
        request.request_id,
        {
            "request": request.request_id,
            "tenant": request.tenant_id,
            "scope": request.scope,
            "requested_at": request.requested_at.isoformat(),
            "state": state,
            "at": now.isoformat(),
            "messages": messages,
        },
    )


def _address_hash(stores: Stores, connection: Connection, tenant_id: UUID, address: str, *, now: datetime) -> str:
    """Returns HMAC-SHA256 of an address under the tenant's first key: the same for ever, meaningless without the key."""
    ring = KeyRing(key_source(stores))
    ring.for_writing(connection, tenant_id, now=now)
    key = ring.for_reading(connection, tenant_id, FIRST_GENERATION)
    plain = address.strip().lower().encode()
    return hmac.digest(key.derive(b"penguinmails suppression v1"), plain, "sha256").hex()
