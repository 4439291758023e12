"""Handler of `email-sending`: one message through SMTP, at most once for one idempotency key.

SMTP cannot be asked whether it took a message. So a ledger row is committed just before the message itself is given to the
server: everything before that may fail and be tried again; a run that ended after it, without the server's answer heard, is
never repeated by itself but becomes a dead letter that says so. A repetition after an answer only does the rest.

Belongs here: that order. Does not belong here: where messages and mailboxes are (port `outbound_mail`, which pipelines/ gives).
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr

from penguinmails.queue.connections import connect
from penguinmails.queue.errors import PermanentFailure
from penguinmails.queue.handlers import Handler, JobContext
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import ServerError
from penguinmails.stack.ports import port
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

QUEUE_NAME = "email-sending"
QUERIES = Queries(Path(__file__).parent / "sql" / "sent_mail.sql")
_TIMEOUT_SECONDS = 10.0
Result = TypeVar("Result")


class SmtpUnavailable(ServerError):
    """The mail server did not take the message now; it certainly was not sent."""


class MessageToSend(BaseModel):
    """Payload: which message."""

    model_config = ConfigDict(extra="forbid")

    message_id: UUID


@dataclass(frozen=True)
class SmtpServer:
    """The server of the sending mailbox. `requires_tls` is False only for servers on the same machine."""

    host: str
    port: int
    username: str | None = None
    password: SecretStr | None = None
    requires_tls: bool = True


@dataclass(frozen=True)
class OutboundMessage:
    """A message as it is to leave. Never logged."""

    server: SmtpServer
    sender: str
    recipient: str
    raw_message: bytes

    def __repr__(self) -> str:
        return f"OutboundMessage({len(self.raw_message)} bytes)"


class OutboundMail(Protocol):
    """What the other tiers give. `record` may be called again with the same key and changes nothing then."""

    def message(self, message_id: UUID) -> OutboundMessage | None:
        """Returns the message, None when there is none (any more)."""

    def record(self, message_id: UUID, event: str, *, key: UUID, at: datetime, reply_code: int) -> None:
        """Records that the message was `sent` or `bounced`."""


@dataclass(frozen=True)
class MailSender:
    """Sends messages."""

    stores: Stores
    mail: OutboundMail
    clock: Clock = utc_now

    def handle(self, payload: MessageToSend, context: JobContext) -> None:
        """Sends one message, unless an earlier run did.

        Raises:
            PermanentFailure: there is no such message, or whether it was sent cannot be known.
            SmtpUnavailable: it was not sent and may be later.
        """
        key, message_id = context.job.id, payload.message_id
        state = self._state(key)
        if state == "sending":
            raise PermanentFailure(
                f"message {message_id}",
                "was given to the server by a run that did not live to hear the answer",
                "Find out whether it arrived; if not, enqueue it anew.",
            )
        if state is None:
            state, code = self._send(key, message_id, context)
            self._execute("settle", key, message_id, state=state, reply_code=code)
        else:
            code = 0
        self.mail.record(message_id, state, key=key, at=self.clock(), reply_code=code)

    def _send(self, key: UUID, message_id: UUID, context: JobContext) -> tuple[str, int]:
        """Returns the state the message has reached for good and the server's reply."""
        message = self.mail.message(message_id)
        if message is None:
            raise PermanentFailure(f"message {message_id}", "is not there (any more)", "Nothing to do.")
        with _Session(message.server) as session:
            code = session.offer(message.sender, message.recipient)
            if code >= 500:
                return "bounced", code
            context.assert_owned()
            if not self._execute("about_to_send", key, message_id):
                raise SmtpUnavailable("message", "is being sent by another run", "It is looked at again later.")
            code = session.give(message.raw_message)
        if code >= 500:
            return "bounced", code
        if code >= 400:
            self._execute("not_sent", key, message_id)
            raise _unavailable(code)
        return "sent", code

    def _state(self, key: UUID) -> str | None:
        with connect(self.stores.queue_url) as connection:
            row = connection.execute(QUERIES["state_of"], {"key": key}).fetchone()
        return None if row is None else str(row[0])

    def _execute(self, name: str, key: UUID, message_id: UUID, **more: object) -> bool:
        with connect(self.stores.queue_url) as connection:
            return connection.execute(QUERIES[name], {"key": key, "message_id": message_id, **more}).rowcount > 0


class _Session:
    """One SMTP conversation. What fails before `give` was certainly not sent."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    def __enter__(self) -> _Session:
        self._smtp = self._attempt(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._smtp.close()

    def offer(self, sender: str, recipient: str) -> int:
        """Names sender and recipient; returns the server's reply when it takes or refuses them for good."""
        code = self._attempt(lambda: self._smtp.mail(sender)[0])
        if code < 400:
            code = self._attempt(lambda: self._smtp.rcpt(recipient)[0])
        if 400 <= code < 500:
            raise _unavailable(code)
        return code

    def give(self, raw_message: bytes) -> int:
        """Gives the message; returns the reply.

        Raises:
            PermanentFailure: the connection broke before the reply, so nobody knows.
        """
        try:
            return int(self._smtp.data(raw_message)[0])
        except smtplib.SMTPDataError as refusal:  # the server would not even begin
            return int(refusal.smtp_code)
        except (OSError, smtplib.SMTPException):
            raise PermanentFailure(
                "message", "was given to the server, which did not answer", "Find out whether it arrived."
            ) from None

    def _open(self) -> smtplib.SMTP:
        server = self._server
        smtp = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_SECONDS)
        try:
            if server.requires_tls:
                smtp.starttls(context=ssl.create_default_context())
            if server.username is not None and server.password is not None:
                smtp.login(server.username, server.password.get_secret_value())
            smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _attempt(self, step: Callable[[], Result]) -> Result:
        try:
            return step()
        except smtplib.SMTPAuthenticationError as refusal:
            raise PermanentFailure(
                "mailbox", f"was refused by its server ({refusal.smtp_code})", "Correct its credentials, then replay."
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise SmtpUnavailable(
                "mail server", f"does not do its part ({type(error).__name__})", "It is tried again later."
            ) from None


def _unavailable(code: int) -> SmtpUnavailable:
    return SmtpUnavailable("mail server", f"answered {code}", "It is tried again later.")


def _handle(payload: MessageToSend, context: JobContext) -> None:
    stores = resolve()
    MailSender(stores, port("outbound_mail")(stores)).handle(payload, context)


SENDING = Handler(QUEUE_NAME, MessageToSend, _handle)
"""Registered by pipelines/ together with the port it needs."""
