"""What this tier needs from others, as Protocols: where bodies come from, and where tenant keys are kept.

Belongs here: the shapes only. Does not belong here: an implementation of any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol
from uuid import UUID


class BodyToStore(Protocol):
    """One message on its way into the content tier."""

    @property
    def tenant_id(self) -> UUID: ...
    @property
    def message_id(self) -> UUID: ...
    @property
    def created(self) -> datetime:
        """When the message was taken in, UTC."""

    @property
    def direction(self) -> str: ...
    @property
    def message_type(self) -> str: ...
    @property
    def correspondent(self) -> str:
        """The other party's address: counted in memory when a dictionary is trained, never stored."""

    @property
    def raw_message(self) -> bytes:
        """RFC 822, bit for bit."""


class Backlog(Protocol):
    """What still waits to be handed over."""

    @property
    def messages(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def oldest_at(self) -> datetime | None: ...


class MessageBodies(Protocol):
    """The hand-over area (port `message_bodies`). Every call is a short transaction of its own, from any thread."""

    def backlog(self, day: date | None = None, *, tenant_id: UUID | None = None) -> Backlog:
        """Returns what waits; `day` is the UTC day of intake; None means every day, every tenant."""

    def claim(
        self, owner: UUID, *, max_messages: int, max_bytes: int, day: date | None = None
    ) -> Sequence[BodyToStore]:
        """Claims waiting messages of ONE tenant, at least one where any waits, however big.

        Two owners never hold the same message at once; what a dead owner held can be claimed again within 30 seconds.
        """

    def mark_stored(self, stored: Sequence[tuple[UUID, UUID, str]]) -> None:
        """Sets the storage key of (tenant_id, message_id, storage_key); idempotent; the body stays for now."""

    def release(self, owner: UUID) -> None:
        """Gives back what `owner` claimed and did not mark as stored."""

    def remove_stored(self, stored_before: datetime, *, limit: int) -> int:
        """Removes at most `limit` bodies that were marked as stored before that time; returns how many."""

    def body(self, message_id: UUID) -> bytes | None:
        """Returns the body while it is still in the hand-over area."""

    def storage_keys(self) -> Iterator[Sequence[tuple[UUID, UUID, str]]]:
        """Yields (tenant_id, message_id, storage_key) of all stored messages, a page at a time."""

    def messages_of(
        self,
        tenant_id: UUID,
        *,
        campaign_id: UUID | None = None,
        address: str | None = None,
        taken_in_by: datetime | None = None,
        after: UUID | None,
        limit: int,
    ) -> Sequence[UUID]:
        """Returns ids of messages that have a body, stored or waiting: a page, ordered by id, from `after` on.

        Args:
            campaign_id: only this campaign's.
            address: only those from or to this address (in any case); instead of a campaign.
            taken_in_by: only what had come in by then.
        """

    def still_here(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> set[UUID]:
        """Returns those whose body is in the hand-over area, stored or not."""

    def drop_bodies(self, tenant_id: UUID, message_ids: Sequence[UUID]) -> int:
        """Removes these bodies for ever, stored or not; returns how many were there. Idempotent."""


class TenantKeySource(Protocol):
    """Where tenant keys are kept: files, the environment, or a key management service (port `tenant_keys`).

    Keys never stand in PostgreSQL or in the object store.
    """

    def secret(self, tenant_id: UUID, generation: int) -> bytes | None:
        """Returns the 32 bytes of that generation, None when the source has no such key."""

    def create(self, tenant_id: UUID, generation: int) -> bytes:
        """Makes the key durable if there is none yet and returns it; two callers at once get the same one."""

    def destroy(self, tenant_id: UUID, generation: int) -> bool:
        """Destroys the key for ever; returns False where that cannot be done to one key alone. Idempotent."""


class Progress(Protocol):
    """Told how many units of work were just done."""

    def __call__(self, units: int, /) -> None: ...


def no_progress(_units: int) -> None:
    """Tells nobody."""


DEFAULT_GRACE = timedelta(hours=24)
"""How long a body stays in the hand-over area after it was stored, read back and verified."""
