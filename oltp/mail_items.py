"""What a source of mail gives out.

Belongs here: the types between sources (mail_sources.py, synthetic.py) and the intake. Does not belong here: reading or
writing anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from penguinmails.oltp.identifiers import FIXED_TIME, time_ordered_uuid


@dataclass(frozen=True)
class Workspace:
    """The tenant and company that mail is loaded for.

    Args:
        tenant_name: name of the tenant; its ids follow from it.
    """

    tenant_name: str

    @property
    def tenant_id(self) -> UUID:
        return time_ordered_uuid(FIXED_TIME, "tenant", self.tenant_name)

    @property
    def company_id(self) -> UUID:
        return time_ordered_uuid(FIXED_TIME, "company", self.tenant_name)


DEMO_WORKSPACE = Workspace("Emperor Outreach (demo)")
"""Whom real mail is loaded for when nothing else is said."""


@dataclass(frozen=True)
class PlannedEvent:
    """Something that happened to a message, known to the source and not to the message itself."""

    event_type: str
    occurred_at: datetime
    ingested_at: datetime
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class MessagePlan:
    """What a source knows about a message besides its bytes.

    Args:
        direction: inbound or outbound.
        at: when it was sent; makes a Date plausible that the clock of this machine would call the future.
        campaign_id: campaign it was sent for.
        campaign_sequence_step_id: step it was sent by.
        events: what happened to it, apart from what the mail itself proves.
    """

    direction: str
    at: datetime
    campaign_id: UUID | None = None
    campaign_sequence_step_id: UUID | None = None
    events: tuple[PlannedEvent, ...] = ()


@dataclass(frozen=True)
class SourceItem:
    """One item of a source.

    Args:
        name: stable name within the source.
        raw: exact bytes; None when they are too many to load.
        problem: reason code of an item that could not be read whole; empty otherwise.
        workspace: whom it is loaded for.
        plan: what the source knows besides the bytes.
        size_bytes: size; counted from `raw` when not given.
        sha256: digest; made from `raw` when not given.
    """

    name: str
    raw: bytes | None
    problem: str = ""
    workspace: Workspace = DEMO_WORKSPACE
    plan: MessagePlan | None = None
    size_bytes: int = -1
    sha256: bytes = b""

    def __post_init__(self) -> None:
        if self.raw is not None:
            object.__setattr__(self, "size_bytes", len(self.raw))
            object.__setattr__(self, "sha256", hashlib.sha256(self.raw).digest())


@dataclass(frozen=True)
class TableRows:
    """Rows of one table, all with the same columns; written where their key is not there yet."""

    table: str
    rows: Sequence[Mapping[str, object]]


class MailSource(Protocol):
    """Anything that mail can be loaded from."""

    @property
    def name(self) -> str:
        """Name under which the ledger keeps the items; the same for the same source."""

    @property
    def setup(self) -> Sequence[TableRows]:
        """Rows the mail refers to, in order of their foreign keys."""

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that is the same each time; those of one workspace stand together."""
