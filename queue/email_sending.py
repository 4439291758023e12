"""Handler of `email-sending`: one message through SMTP, at most once.

SMTP cannot be asked whether it took a message. So a ledger row of the message is committed just before the message itself is
given to the server: everything before that may fail and be tried again; a run that ended after it, without the server's
answer heard, is never repeated by itself but becomes a dead letter that says so. A repetition after an answer only does the
rest. The ledger is by message, so that two jobs that name the same message do not send it twice either.

Belongs here: that order. Does not belong here: the conversation (smtp_session.py), where messages, mailboxes and passwords are
(port `outbound_mail`, which pipelines/ gives).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from psycopg.rows import class_row
from pydantic import BaseModel, ConfigDict

from penguinmails.queue.connections import connect
from penguinmails.queue.errors import PermanentFailure
from penguinmails.queue.handlers import Handler, JobContext
from penguinmails.queue.smtp_session import Reply, SmtpServer, SmtpSession, SmtpUnavailable, not_now
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.ports import port
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

QUEUE_NAME = "email-sending"
QUERIES = Queries(Path(__file__).parent / "sql" / "sent_mail.sql")


class Withheld(PlatformError):
    """The message is not to be sent (any more): its recipient has unsubscribed, it was sent before. Nothing went wrong."""


class MessageToSend(BaseModel):
    """Payload: which message of the job's tenant.

    Args:
        resend: a person found out that an earlier run, whose answer nobody heard, did not deliver it.
    """

    model_config = ConfigDict(extra="forbid")

    message_id: UUID
    resend: bool = False


@dataclass(frozen=True)
class OutboundMessage:
    """A message as it is to leave. Never logged."""

    server: SmtpServer
    sender: str
    recipient: str
    raw_message: bytes

    def __repr__(self) -> str:
        return f"OutboundMessage({len(self.raw_message)} bytes)"


@dataclass(frozen=True)
class Sending:
    """How far a message came.

    Args:
        key: job that was at it last.
        state: sending (given to the server, no answer heard), sent or bounced.
        is_hard: bounced, because the address leads nowhere.
        at: when the server answered.
    """

    key: UUID
    state: str
    reply_code: int | None
    reply_status: str
    is_hard: bool
    at: datetime


class OutboundMail(Protocol):
    """What the other tiers give. `record` may be called again with the same sending and changes nothing then."""

    def message(self, tenant_id: UUID, message_id: UUID) -> OutboundMessage | None:
        """Returns the message, None when the tenant has none of this id (any more).

        Raises:
            Withheld: it is not to be sent.
            PermanentFailure: it cannot be sent as things are.
        """

    def record(self, tenant_id: UUID, message_id: UUID, sending: Sending) -> None:
        """Records that the message was sent or bounced."""


@dataclass(frozen=True)
class MailSender:
    """Sends messages."""

    stores: Stores
    mail: OutboundMail

    def handle(self, payload: MessageToSend, context: JobContext) -> None:
        """Sends one message, unless an earlier run did.

        Raises:
            PermanentFailure: there is no such message, or whether it was sent cannot be known.
            SmtpUnavailable: it was not sent and may be later.
        """
        tenant_id, message_id = context.job.tenant_id, payload.message_id
        if tenant_id is None:
            raise PermanentFailure("job", "names no tenant", "Enqueue it with its tenant.")
        sending = self._earlier(message_id)
        if sending is not None and sending.state == "sending":
            if not payload.resend or sending.key == context.job.id:
                raise PermanentFailure(
                    f"message {message_id}",
                    "was given to the server by a run that did not live to hear the answer",
                    'Find out whether it arrived; if not, enqueue it anew with "resend": true.',
                )
            sending = None
        if sending is None:
            try:
                message = self.mail.message(tenant_id, message_id)
            except Withheld:
                return
            if message is None:
                raise PermanentFailure(f"message {message_id}", "is not the tenant's (any more)", "Nothing to do.")
            sending = self._send(payload, message, context)
        self.mail.record(tenant_id, message_id, sending)

    def _send(self, payload: MessageToSend, message: OutboundMessage, context: JobContext) -> Sending:
        """Returns how the message has ended for good."""
        key, message_id = context.job.id, payload.message_id
        with SmtpSession(message.server) as session:
            reply = session.offer(message.sender, message.recipient)
            if not reply.is_refusal:
                context.assert_owned()
                if not self._execute("about_to_send", key, message_id, resend=payload.resend):
                    raise _at_it_already(message_id)
                reply = session.give(message.raw_message)
        if reply.is_not_now:
            self._execute("not_sent", key, message_id)
            raise not_now(reply)
        return self._settle(key, message_id, reply)

    def _earlier(self, message_id: UUID) -> Sending | None:
        with connect(self.stores.queue_url) as connection, connection.cursor(row_factory=class_row(Sending)) as cursor:
            return cursor.execute(QUERIES["sending_of"], {"message_id": message_id}).fetchone()

    def _settle(self, key: UUID, message_id: UUID, reply: Reply) -> Sending:
        state, is_hard = ("bounced", reply.names_no_mailbox) if reply.is_refusal else ("sent", False)
        said = {"state": state, "reply_code": reply.code, "reply_status": reply.status, "is_hard": is_hard}
        with connect(self.stores.queue_url) as connection:
            row = connection.execute(QUERIES["settle"], {"key": key, "message_id": message_id, **said}).fetchone()
        if row is None:
            raise _at_it_already(message_id)
        return Sending(key, state, reply.code, reply.status, is_hard, row[0])

    def _execute(self, name: str, key: UUID, message_id: UUID, **more: object) -> bool:
        with connect(self.stores.queue_url) as connection:
            return connection.execute(QUERIES[name], {"key": key, "message_id": message_id, **more}).rowcount > 0


def _at_it_already(message_id: UUID) -> SmtpUnavailable:
    return SmtpUnavailable(f"message {message_id}", "is being sent by another job", "It is looked at again later.")


def _handle(payload: MessageToSend, context: JobContext) -> None:
    stores = resolve()
    MailSender(stores, port("outbound_mail")(stores)).handle(payload, context)


SENDING = Handler(QUEUE_NAME, MessageToSend, _handle)
"""Registered in pyproject.toml, together with the port it needs."""
