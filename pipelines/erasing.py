"""Erasing one person from every tier, in the order that lets it be killed anywhere and run again.

Belongs here: the order, and what is left to do. Does not belong here: how a tier erases. The content tier goes first, because
its messages are found by the address in PostgreSQL; PostgreSQL forgets the address last. The marts hold neither addresses nor
names, subjects or bodies; they forget the lead with their next roll-up, by themselves (docs/olap.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.deletion import DeletionPlan
from penguinmails.content_store.erasure import ErasureState, is_suppressed, messages_with, plan_erasure
from penguinmails.content_store.erasure import erase_person as erase_content
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.erasure import PersonRows, find_person, forget_person, refuse_nobody
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class PersonPlan:
    """What erasing a person would reach."""

    rows: PersonRows
    content: DeletionPlan


@dataclass(frozen=True)
class PersonErasure:
    """What was done to erase a person.

    Args:
        content: the request in the content tier; None when a run before had ended it.
        rows: rows of PostgreSQL that lost what told who it was; None while a legal hold keeps messages: the address must
            stay until they can go too.
    """

    content: ErasureState | None
    rows: PersonRows | None

    @property
    def finished(self) -> bool:
        """False while a legal hold keeps some of it."""
        return self.rows is not None


def plan_person(stores: Stores, tenant_id: UUID, address: str) -> PersonPlan:
    """Returns what erase_person() would reach; changes nothing.

    Raises:
        InputError: that is no address, or there is no such tenant.
        ServerError: a store does not answer.
    """
    refuse_nobody(stores, tenant_id, address)
    bodies = MessageBodies(stores)
    rows = find_person(stores, tenant_id, address)
    return PersonPlan(rows, plan_erasure(stores, bodies, tenant_id, messages_with(bodies, tenant_id, address)))


def erase_person(stores: Stores, tenant_id: UUID, address: str, *, clock: Callable[[], datetime]) -> PersonErasure:
    """Makes a person's messages unreadable everywhere, suppresses the address for ever, and forgets who it was.

    Raises:
        InputError: that is no address, or there is no such tenant; nothing was changed.
        ServerError: a store does not answer. Run it again: it goes on where it was.
    """
    refuse_nobody(stores, tenant_id, address)
    bodies = MessageBodies(stores)
    left = messages_with(bodies, tenant_id, address)
    content = None
    if left or not is_suppressed(stores, tenant_id, address):
        content = erase_content(stores, bodies, tenant_id, address, clock=clock)
        if content.blocked:
            return PersonErasure(content, None)
    return PersonErasure(content, forget_person(stores, tenant_id, address, clock=clock))
