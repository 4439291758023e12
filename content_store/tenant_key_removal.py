"""A tenant's keys go with the last of its mail: then no backup of the index can make any of it readable again.

First the keys are dropped in the index, in the transaction that finds that nothing needs them: from then on no pack goes
live under them. Then they are destroyed where keys are kept, and that is certified. A key derived from a master key cannot
be destroyed alone; it stays dropped.

Belongs here: those two steps. Does not belong here: erasing the mail (erasure.py), where keys are kept (keys.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.certificates import add_certificate
from penguinmails.content_store.deletion import QUERIES
from penguinmails.content_store.index import Connection
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.steps import AtStep, ErasureStep
from penguinmails.stack.stores import Stores


def drop_keys(connection: Connection, tenant_id: UUID, request_id: UUID, *, now: datetime) -> int:
    """Drops the tenant's keys if no message, pack or hold needs them, and its dictionaries with them; returns how many.

    Call it inside a transaction that has the tenant's lock.
    """
    values = {"tenant_id": tenant_id, "request_id": request_id, "now": now}
    dropped = connection.execute(QUERIES["drop_tenant_keys"], values).rowcount
    if dropped:
        connection.execute(QUERIES["condemn_dictionaries"], values)
    return dropped


def destroy_dropped_keys(
    stores: Stores, connection: Connection, *, clock: Callable[[], datetime], at_step: AtStep
) -> None:
    """Destroys keys that were dropped, where keys are kept, and certifies each."""
    rows = connection.execute(QUERIES["keys_to_destroy"]).fetchall()
    if not rows:
        return
    ring = KeyRing(key_source(stores))
    for tenant_id, generation, request_id in rows:
        if not ring.destroy(tenant_id, generation):
            continue
        at_step(ErasureStep.TENANT_KEY_DESTROYED)
        now = clock()
        values = {"tenant_id": tenant_id, "generation": generation, "now": now}
        with connection.transaction():
            if connection.execute(QUERIES["key_is_destroyed"], values).rowcount:
                add_certificate(
                    connection,
                    tenant_id,
                    request_id,
                    {
                        "request": request_id,
                        "tenant": tenant_id,
                        "scope": "tenant",
                        "state": "tenant key destroyed",
                        "generation": generation,
                        "at": now.isoformat(),
                    },
                )
