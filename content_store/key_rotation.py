"""A new generation of a tenant's key: every wrapped key is wrapped anew, no pack is touched.

Older generations stay where keys are kept: the directories of older packs are sealed under them, and digests under the first.

Belongs here: rotation. Does not belong here: where keys are kept (keys.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.steps import AtStep, RotationStep, no_step
from penguinmails.stack.stores import Stores

_PAGE = 2_000


@dataclass(frozen=True)
class RotationReport:
    """What a rotation did."""

    generation: int
    messages: int


def rotate_key(
    stores: Stores,
    tenant_id: UUID,
    *,
    clock: Callable[[], datetime],
    resume: bool = False,
    progress: Progress = no_progress,
    at_step: AtStep = no_step,
) -> RotationReport:
    """Makes the next generation and wraps every data key of the tenant with it; readers notice nothing.

    Args:
        resume: carry on with the newest generation instead of making another.
        at_step: told each step that is now durable.

    Raises:
        TenantKeyMissing, TenantKeyWrong: an older generation is not there; messages wrapped with it stay as they are.
    """
    ring, after, messages = KeyRing(key_source(stores)), "", 0
    with typed_errors(), connect(stores) as connection:
        newest = ring.for_writing(connection, tenant_id, now=clock())
        key = newest if resume else ring.next_generation(connection, newest, now=clock())
        at_step(RotationStep.GENERATION_MADE)
        while rows := connection.execute(
            QUERIES["page_of_older_keys"],
            {"tenant_id": tenant_id, "generation": key.generation, "after": after, "limit": _PAGE},
        ).fetchall():
            renewed = []
            for name, generation, wrapped_key in rows:
                older = ring.for_reading(connection, tenant_id, generation)
                renewed.append(key.wrap(older.unwrap(wrapped_key, thing=f"message {name}")))
            done = connection.execute(
                QUERIES["rewrap"],
                {
                    "generation": key.generation,
                    "storage_keys": [name for name, _, _ in rows],
                    "old": [wrapped_key for _, _, wrapped_key in rows],
                    "new": renewed,
                },
            )
            after, messages = rows[-1][0], messages + done.rowcount
            progress(done.rowcount)
            at_step(RotationStep.PAGE_REWRAPPED)
    return RotationReport(key.generation, messages)
