"""Erasure of messages, of a person, or of a tenant: unreadable at commit, bytes gone within 30 days, proven.

A request is recorded first, then carried out a page at a time: leave tombstones for what still waits to be handed over,
drop the keys, drop the bodies that still lie in the OLTP tier; only then is "unreadable" certified. What a legal hold
blocks waits and is carried out when the hold is released. `run_erasures` does everything that is due, from wherever a run
before it stopped.

Belongs here: requests and their progress, suppression. Does not belong here: removing bytes (compaction.py), a tenant's
keys (tenant_key_removal.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat

from penguinmails.content_store.certificates import add_certificate
from penguinmails.content_store.deletion import (
    PAGE,
    QUERIES,
    DeletionPlan,
    Reason,
    destroy,
    lock_tenant,
    plan_deletion,
)
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import MessageBodies
from penguinmails.content_store.sealing import TenantKey
from penguinmails.content_store.steps import AtStep, ErasureStep, no_step
from penguinmails.content_store.storage_layout import ids_of, storage_key
from penguinmails.content_store.tenant_key_removal import destroy_dropped_keys, drop_keys
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
        raise InputError("erasure of a person", "names no messages", "Use erase_person, which finds them.")
    foreign = [name for name in storage_keys or () if ids_of(name)[0] != tenant_id]
    if foreign:
        raise InputError(f"{len(foreign)} storage keys", "belong to another tenant", "Nothing was recorded.")
    request_id, now = uuid_utils.compat.uuid7(), clock()  # those of one moment keep their order
    scope = "tenant" if storage_keys is None else "person" if address is not None else "messages"
    values: dict[str, Any] = {"request_id": request_id, "tenant_id": tenant_id, "scope": scope, "now": now}
    with typed_errors(), connect(stores) as connection:
        key = KeyRing(key_source(stores)).for_suppression(connection, tenant_id, now=now) if address else None
        with connection.transaction():
            connection.execute(QUERIES["request_erasure"], values)
            for start in range(0, len(storage_keys or ()), PAGE):
                page = list((storage_keys or ())[start : start + PAGE])
                connection.execute(QUERIES["name_messages"], {**values, "storage_keys": page})
            if key is not None and address:
                hashed = _address_hash(key, address)
                connection.execute(QUERIES["suppress"], {"tenant_id": tenant_id, "address_hash": hashed, "now": now})
    return request_id


def messages_with(bodies: MessageBodies, tenant_id: UUID, address: str) -> list[str]:
    """Returns the storage keys of every message from or to an address, in the content tier or on its way there.

    Raises:
        InputError: that is no address.
    """
    local, _, domain = address.strip().rpartition("@")
    if not local or not domain or any(letter.isspace() for letter in address.strip()):
        raise InputError("--person", "is not an address", "Give it as name@domain.")
    names, after = list[str](), None
    while page := bodies.messages_of(tenant_id, address=address, after=after, limit=PAGE):
        names += [storage_key(tenant_id, message_id) for message_id in page]
        after = page[-1]
    return names


def plan_erasure(
    stores: Stores, bodies: MessageBodies, tenant_id: UUID, storage_keys: Sequence[str] | None
) -> DeletionPlan:
    """Returns what erasing these messages, or with None the whole tenant, would reach; changes nothing."""
    plan = plan_deletion(stores, tenant_id, storage_keys)
    if storage_keys is None:
        return replace(plan, waiting=bodies.backlog(tenant_id=tenant_id).messages)
    ids = [ids_of(name)[1] for name in storage_keys]
    here = [bodies.still_here(tenant_id, ids[start : start + PAGE]) for start in range(0, len(ids), PAGE)]
    return replace(plan, waiting=sum(map(len, here)))


def erase_person(
    stores: Stores, bodies: MessageBodies, tenant_id: UUID, address: str, *, clock: Callable[[], datetime]
) -> ErasureState:
    """Erases every message the tenant exchanged with an address, and suppresses the address for ever.

    The messages are found by what the OLTP tier knows of them now; it forgets a month of messages no sooner than their
    bodies are past the default time. What a legal hold keeps goes with `run_erasures` after its release.

    Raises:
        InputError: that is no address.
        ServerError: a store does not answer; where the request had been recorded, `run_erasures` carries on with it.
    """
    names = messages_with(bodies, tenant_id, address)
    request_id = request_erasure(stores, tenant_id, storage_keys=names, address=address, clock=clock)
    (state,) = run_erasures(stores, bodies, clock=clock, only=request_id)
    return state


def run_erasures(
    stores: Stores,
    bodies: MessageBodies,
    *,
    clock: Callable[[], datetime],
    only: UUID | None = None,
    at_step: AtStep = no_step,
) -> list[ErasureState]:
    """Carries out every request as far as it can be now; returns where each stands. Safe to run at any time.

    Args:
        bodies: where messages wait to be handed over; theirs are removed there too.
        only: this request instead of all.
        at_step: told each step that is now durable.

    Raises:
        ServerError: a store does not answer; nothing is certified that is not so. Run it again.
    """
    states = []
    with typed_errors(), connect(stores) as connection:
        for request_id, tenant_id, scope, requested_at, effective_at in connection.execute(
            QUERIES["open_erasures"]
        ).fetchall():
            if only in (None, request_id):
                request = _Request(request_id, tenant_id, scope, requested_at, effective_at)
                states.append(_Erasure(connection, bodies, request, clock, at_step).carry_out())
        destroy_dropped_keys(stores, connection, clock=clock, at_step=at_step)
    return states


def is_suppressed(stores: Stores, tenant_id: UUID, address: str) -> bool:
    """Returns whether the tenant must not write to this address again."""
    with typed_errors(), connect(stores) as connection:
        key = KeyRing(key_source(stores)).for_suppression(connection, tenant_id, now=None)
        if key is None:
            return False
        values = {"tenant_id": tenant_id, "address_hash": _address_hash(key, address)}
        row = connection.execute(QUERIES["is_suppressed"], values).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True)
class _Request:
    request_id: UUID
    tenant_id: UUID
    scope: str
    requested_at: datetime
    effective_at: datetime | None

    @property
    def of_tenant(self) -> bool:
        return self.scope == "tenant"

    @property
    def values(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "tenant_id": self.tenant_id, "requested_at": self.requested_at}


class _Erasure:
    """One request on its way."""

    def __init__(
        self,
        connection: Connection,
        bodies: MessageBodies,
        request: _Request,
        clock: Callable[[], datetime],
        at_step: AtStep,
    ) -> None:
        self.connection = connection
        self.bodies = bodies
        self.request = request
        self.clock = clock
        self.at_step = at_step

    def carry_out(self) -> ErasureState:
        """Goes as far as it can now and says how far that was."""
        held_waiting = 0
        if self.request.effective_at is None:
            for page in self._pages():
                held_waiting += self._make_unreadable(page)
        return self._certify(held_waiting)

    def _pages(self) -> Iterator[list[str]]:
        """Yields the storage keys of what is to be erased; of a tenant, what is stored and then what still waits."""
        query = QUERIES["page_of_tenant" if self.request.of_tenant else "page_of_named"]
        after = ""
        while rows := self.connection.execute(query, {**self.request.values, "after": after, "limit": PAGE}).fetchall():
            yield [name for (name,) in rows]
            after = rows[-1][0]
        after_id: UUID | None = None
        while self.request.of_tenant and (
            ids := self.bodies.messages_of(
                self.request.tenant_id, taken_in_by=self.request.requested_at, after=after_id, limit=PAGE
            )
        ):
            yield [storage_key(self.request.tenant_id, message_id) for message_id in ids]
            after_id = ids[-1]

    def _make_unreadable(self, page: list[str]) -> int:
        """Erases what is not held, in the index and then in the hand-over area; returns how many held ones wait there."""
        tenant_id, now = self.request.tenant_id, self.clock()
        values = {**self.request.values, "storage_keys": page, "now": now}
        with self.connection.transaction():
            lock_tenant(self.connection, tenant_id)
            self.connection.execute(QUERIES["leave_tombstones"], values)
            destroy(self.connection, tenant_id, page, reason=Reason.ERASURE, now=now)
        self.at_step(ErasureStep.KEYS_DROPPED)
        # From here on no hand-over can bring them back: it finds the tombstones.
        erased = [ids_of(name)[1] for (name,) in self.connection.execute(QUERIES["erased_of"], values).fetchall()]
        self.bodies.drop_bodies(tenant_id, erased)
        self.at_step(ErasureStep.BODIES_DROPPED)
        return len(self.connection.execute(QUERIES["absent_of"], values).fetchall())

    def _certify(self, held_waiting: int) -> ErasureState:
        """Says what is true now, and certifies the two turning points in the transaction that finds them."""
        request, now = self.request, self.clock()
        query = QUERIES["progress_of_tenant" if request.of_tenant else "progress_of_named"]
        nothing_waits = request.of_tenant and self.bodies.backlog(tenant_id=request.tenant_id).messages == 0
        keys_dropped = 0
        with self.connection.transaction():
            lock_tenant(self.connection, request.tenant_id)
            messages, left_over, bytes_left = self.connection.execute(query, request.values).fetchone() or (0, 0, 0)
            if request.of_tenant:  # the index does not know those that wait; a named one counts as left over either way
                messages, left_over = messages + held_waiting, left_over + held_waiting
            effective = left_over == 0
            gone = effective and bytes_left == 0
            if effective and request.effective_at is None:
                self._turning_point("erasure_is_effective", "unreadable", messages, now)
            if gone:
                self._turning_point("erasure_is_complete", "bytes gone", messages, now)
                self.connection.execute(QUERIES["forget_items"], request.values)
            if gone and nothing_waits:
                keys_dropped = drop_keys(self.connection, request.tenant_id, request.request_id, now=now)
        self.at_step(ErasureStep.CERTIFIED)
        if keys_dropped:
            self.at_step(ErasureStep.TENANT_KEY_DROPPED)
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

    def _turning_point(self, query: str, state: str, messages: int, now: datetime) -> None:
        request = self.request
        if self.connection.execute(QUERIES[query], {**request.values, "now": now}).rowcount == 0:
            return  # another run was here first and has certified it
        statement = {
            "request": request.request_id,
            "tenant": request.tenant_id,
            "scope": request.scope,
            "requested_at": request.requested_at.isoformat(),
            "state": state,
            "at": now.isoformat(),
            "messages": messages,
        }
        add_certificate(self.connection, request.tenant_id, request.request_id, statement)


def _address_hash(key: TenantKey, address: str) -> str:
    """Returns HMAC-SHA256 of an address: the same for ever, meaningless without the key."""
    plain = address.strip().lower().encode()
    return hmac.digest(key.derive(b"penguinmails suppression v1"), plain, "sha256").hex()
