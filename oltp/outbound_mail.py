"""Outbound messages on their way: what sending one takes, and what became of it.

Belongs here: reading a message that is to be sent, recording sent, bounced and withheld; each of them may be told any number
of times. Does not belong here: SMTP (the queue tier), passwords of mailboxes (they are in the vault that
`vault_key_path` names), bodies that have left for the content tier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from penguinmails.oltp.connections import Connection, Role, connect, settled
from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "outbound_mail.sql")


@dataclass(frozen=True)
class MessageToSend:
    """An outbound message with its mailbox and its recipient. Never logged.

    Args:
        status: of the message (email_messages.status).
        is_sent: it has left before.
        recipient: None when the message names nobody that can be written to.
        content_storage_key: where the body is when `raw_message` is None.
        raw_message: the body as long as it is still here, bit for bit.
        mailbox: address it is sent from.
        mailbox_status: email_accounts.status.
        smtp_settings: host, port, security and user name.
        vault_key_path: where the password is.
        lead_status: leads.status of the recipient; None when it is nobody's lead.
    """

    status: str
    is_sent: bool
    recipient: str | None = field(repr=False)
    content_storage_key: str | None
    raw_message: bytes | None = field(repr=False)
    mailbox: str = field(repr=False)
    mailbox_status: str
    smtp_settings: dict[str, Any] | None = field(repr=False)
    vault_key_path: str | None = field(repr=False)
    lead_status: str | None


def message_to_send(stores: Stores, tenant_id: UUID, message_id: UUID) -> MessageToSend | None:
    """Returns an outbound message of the tenant, None when it has none of this id.

    Raises:
        ServerError: the database does not answer.
    """
    with connect(stores.oltp_url, Role.LOADER) as connection:
        cursor = connection.cursor(binary=True, row_factory=class_row(MessageToSend))
        return cursor.execute(
            _QUERIES["outbound_message"], {"tenant_id": tenant_id, "message_id": message_id}
        ).fetchone()


def record_sent(stores: Stores, tenant_id: UUID, message_id: UUID, at: datetime) -> bool:
    """Notes that the server took the message, with its event; returns False when that was known.

    Raises:
        ServerError: the database does not answer; nothing was written.
    """
    with connect(stores.oltp_url, Role.LOADER) as connection:
        return settled(connection, lambda: _record_sent(connection, tenant_id, message_id, at))


def record_bounced(
    stores: Stores,
    tenant_id: UUID,
    message_id: UUID,
    at: datetime,
    *,
    is_hard: bool,
    code: str = "",
    with_attempt: bool = False,
) -> bool:
    """Notes that a message came back, with its event; a hard bounce also marks its lead.

    Args:
        is_hard: it will never arrive.
        code: reply or enhanced status code.
        with_attempt: the server refused it when it was offered: the attempt itself is noted as sent, so that the message
            counts among those its bounce is a share of.

    Returns:
        False when it was known (or there is no such message: see `is_outbound`).

    Raises:
        ServerError: the database does not answer; nothing was written.
    """
    bounce_type = "hard" if is_hard else "soft"
    values = {
        "tenant_id": tenant_id,
        "message_id": message_id,
        "event_id": time_ordered_uuid(at, "event", message_id.bytes, "bounced", bounce_type),
        "at": at,
        "bounce_type": bounce_type,
        "code": code,
    }

    def record() -> bool:
        if with_attempt:
            _record_sent(connection, tenant_id, message_id, at)
        return connection.execute(_QUERIES["record_bounced"], values).fetchone() is not None

    with connect(stores.oltp_url, Role.LOADER) as connection:
        return settled(connection, record)


def withhold(stores: Stores, tenant_id: UUID, message_id: UUID) -> None:
    """Marks a message that waits as failed: it is not to be sent any more."""
    with connect(stores.oltp_url, Role.LOADER) as connection:
        connection.execute(_QUERIES["withhold"], {"tenant_id": tenant_id, "message_id": message_id})


def is_outbound(stores: Stores, tenant_id: UUID, message_id: UUID) -> bool:
    """Whether the tenant has an outbound message of this id."""
    with connect(stores.oltp_url, Role.LOADER) as connection:
        row = connection.execute(_QUERIES["is_outbound"], {"tenant_id": tenant_id, "message_id": message_id}).fetchone()
    return bool(row and row[0])


def _record_sent(connection: Connection, tenant_id: UUID, message_id: UUID, at: datetime) -> bool:
    values = {
        "tenant_id": tenant_id,
        "message_id": message_id,
        "event_id": time_ordered_uuid(at, "event", message_id.bytes, message_id.bytes, "sent 1"),
        "at": at,
    }
    return connection.execute(_QUERIES["record_sent"], values).fetchone() is not None
