"""Mail that arrives for a mailbox of a tenant: one message at a time, exactly once.

The rules are those of the intake (intake_mapping.py): what it answers, what it bounces, what follows for lead and message.
Different is only what production knows better than an archive: the mailbox it arrived in, and that a stranger who writes is
neither a mailbox nor a lead.

Belongs here: that one path. Does not belong here: where the bytes come from (pipelines/), archives of mail (intake.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg

from penguinmails.oltp import intake_writing as writing
from penguinmails.oltp.connections import Connection, Role, connect, settled
from penguinmails.oltp.intake_batch import Batch
from penguinmails.oltp.intake_mapping import Message
from penguinmails.oltp.mail_items import MessagePlan, SourceItem, Workspace
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "inbound_mail.sql")
SOURCE_NAME = "inbound"
"""What the ledger of intake calls mail that came in this way."""


class UnknownMailbox(InputError):
    """The tenant has no such mailbox."""


@dataclass(frozen=True)
class TakenIn:
    """What became of a message that arrived.

    Args:
        outcome: loaded, duplicate, set_aside, or already_there when it was accounted for before.
        reason: why it was set aside; its bytes are kept.
        message_id: the message it became.
    """

    outcome: str
    reason: str | None = None
    message_id: UUID | None = None


def take_in(
    stores: Stores,
    tenant_id: UUID,
    email_account_id: UUID,
    *,
    item_name: str,
    raw_message: bytes,
    clock: Clock = utc_now,
) -> TakenIn:
    """Writes a message that arrived, its body for the hand-over, and what it says about messages and leads.

    Args:
        item_name: what the delivery is called; the same name with the same bytes is taken in once.
        raw_message: the message, bit for bit.

    Raises:
        UnknownMailbox: there is no such mailbox.
        ServerError: the database does not answer; nothing was written.
    """
    item = SourceItem(item_name, raw_message, plan=MessagePlan("inbound", clock()))
    with connect(stores.oltp_url, Role.LOADER) as connection:
        workspace = _workspace(connection, tenant_id, email_account_id)

        def attempt(item: SourceItem) -> TakenIn:
            batch = _Arrival(workspace, clock(), email_account_id=email_account_id)
            writing.lock_tenant(connection, tenant_id)
            batch.read(connection, SOURCE_NAME, [item])
            batch.write(connection, SOURCE_NAME)
            if not batch.ledger:
                return TakenIn("already_there")
            entry = batch.ledger[0]
            return TakenIn(entry.outcome, entry.reason, entry.message_id)

        try:
            return settled(connection, lambda: attempt(item))
        except (psycopg.DataError, psycopg.errors.CheckViolation):
            return settled(connection, lambda: attempt(dataclasses.replace(item, problem="refused_by_database")))


def is_taken_in(stores: Stores, tenant_id: UUID, item_name: str) -> bool:
    """Whether a delivery of this name is accounted for."""
    with connect(stores.oltp_url, Role.LOADER) as connection:
        values = {"tenant_id": tenant_id, "source_name": SOURCE_NAME, "item_name": item_name}
        row = connection.execute(_QUERIES["is_taken_in"], values).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True)
class _ExistingWorkspace(Workspace):
    """The workspace of a mailbox, whose ids are what they are."""

    tenant: UUID
    company: UUID

    @property
    def tenant_id(self) -> UUID:
        return self.tenant

    @property
    def company_id(self) -> UUID:
        return self.company


@dataclass(kw_only=True)
class _Arrival(Batch):
    """A batch of one message that arrived in a mailbox."""

    email_account_id: UUID

    def _give_mailbox(self, message: Message, mailboxes: dict[str, UUID]) -> None:  # noqa: ARG002 - it is known
        message.mailbox_id = self.email_account_id

    def _give_lead(self, message: Message, leads: dict[str, UUID]) -> None:
        if message.lead is not None:
            message.lead_id = leads.get(message.lead)


def _workspace(connection: Connection, tenant_id: UUID, email_account_id: UUID) -> Workspace:
    values = {"tenant_id": tenant_id, "email_account_id": email_account_id}
    row = connection.execute(_QUERIES["workspace_of_mailbox"], values).fetchone()
    if row is None:
        raise UnknownMailbox(f"mailbox {email_account_id}", "is not the tenant's", "Correct the id.")
    return _ExistingWorkspace("", tenant_id, row[0])
