"""Legal holds: what is under one is not deleted by anybody for any reason.

Belongs here: placing, releasing, listing. Does not belong here: the check itself; it stands in every deleting statement.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.deletion import PAGE, QUERIES, lock_tenant
from penguinmails.content_store.index import connect, typed_errors
from penguinmails.content_store.ports import MessageBodies
from penguinmails.content_store.storage_layout import ids_of, storage_key
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_MOST_MATTER_CHARACTERS = 200


@dataclass(frozen=True)
class Hold:
    """One hold."""

    hold_id: UUID
    tenant_id: UUID
    matter: str
    whole_tenant: bool
    placed_at: datetime
    released_at: datetime | None
    messages: int


@dataclass(frozen=True)
class HoldPlaced:
    """What a new hold covers."""

    hold_id: UUID
    messages: int
    not_there: tuple[str, ...]
    """Storage keys that could not be held: unknown, another tenant's, or erased before."""


def place_hold(
    stores: Stores,
    bodies: MessageBodies,
    tenant_id: UUID,
    *,
    matter: str,
    storage_keys: Sequence[str] | None,
    clock: Callable[[], datetime],
) -> HoldPlaced:
    """Holds messages, or with None everything the tenant has and will have. Whole or not at all.

    Args:
        bodies: where messages wait to be handed over; they can be held there already.
        matter: file number of the legal matter; no names.

    Raises:
        InputError: there is no file number, or a storage key is none of this tier.
    """
    if not 1 <= len(matter.strip()) <= _MOST_MATTER_CHARACTERS:
        raise InputError(
            "matter", "is empty or too long", f"Give a file number of 1 to {_MOST_MATTER_CHARACTERS} characters."
        )
    hold_id, held = uuid.uuid4(), set[str]()
    waiting = _waiting(bodies, tenant_id, storage_keys or ())
    with typed_errors(), connect(stores) as connection, connection.transaction():
        lock_tenant(connection, tenant_id)
        connection.execute(
            QUERIES["place_hold"],
            {
                "hold_id": hold_id,
                "tenant_id": tenant_id,
                "matter": matter,
                "whole_tenant": storage_keys is None,
                "now": clock(),
            },
        )
        for start in range(0, len(storage_keys or ()), PAGE):
            page = list((storage_keys or ())[start : start + PAGE])
            values = {"hold_id": hold_id, "tenant_id": tenant_id, "storage_keys": page, "waiting": waiting}
            held |= {name for (name,) in connection.execute(QUERIES["hold_messages"], values).fetchall()}
    return HoldPlaced(hold_id, len(held), tuple(sorted(set(storage_keys or ()) - held)))


def release_hold(stores: Stores, hold_id: UUID, *, clock: Callable[[], datetime]) -> None:
    """Ends a hold; erasures it blocked are due at once (run `erasure.run_erasures`).

    Raises:
        InputError: there is no such hold.
    """
    with typed_errors(), connect(stores) as connection, connection.transaction():
        row = connection.execute(QUERIES["hold_tenant_of"], {"hold_id": hold_id}).fetchone()
        if row is None:
            raise InputError(f"hold {hold_id}", "does not exist", "List them with 'penguinmails content hold list'.")
        lock_tenant(connection, row[0])
        connection.execute(QUERIES["release_hold"], {"hold_id": hold_id, "now": clock()})


def list_holds(stores: Stores) -> list[Hold]:
    """Returns every hold, the oldest first."""
    with typed_errors(), connect(stores) as connection:
        return [Hold(*row) for row in connection.execute(QUERIES["holds"]).fetchall()]


def _waiting(bodies: MessageBodies, tenant_id: UUID, storage_keys: Sequence[str]) -> list[str]:
    own = [message_id for owner, message_id in map(ids_of, storage_keys) if owner == tenant_id]
    here = [bodies.still_here(tenant_id, own[start : start + PAGE]) for start in range(0, len(own), PAGE)]
    return [storage_key(tenant_id, message_id) for page in here for message_id in page]
