"""The port `outbound_mail`: what the handler of `email-sending` needs from the OLTP and content tiers, and the handler of
`warmup:process`, which gives it messages.

Belongs here: joining message, body, mailbox and password. Does not belong here: SMTP and its order (queue/email_sending.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from penguinmails.content_store.errors import ContentGone, ContentUnknown
from penguinmails.content_store.reading import read_message
from penguinmails.oltp import outbound_mail
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.warming import next_step
from penguinmails.pipelines.job_handlers.vault import secret
from penguinmails.queue.connections import connect
from penguinmails.queue.email_sending import QUEUE_NAME as SENDING
from penguinmails.queue.email_sending import MessageToSend, OutboundMessage, Sending, Withheld
from penguinmails.queue.errors import PermanentFailure
from penguinmails.queue.handlers import Handler, JobContext, StartedJob
from penguinmails.queue.producer import enqueue
from penguinmails.queue.smtp_session import Security, SmtpServer
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.stores import Stores, resolve

_SECURITY_OF_PORT = {465: Security.TLS}
_WRITABLE = frozenset({None, "active"})
"""Statuses of a lead that may be written to; None is nobody's lead."""
_MAY_SEND = frozenset({"active", "warming"})
"""Statuses of a mailbox that may send."""


class OutboundMail:
    """The port `outbound_mail`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def message(self, tenant_id: UUID, message_id: UUID) -> OutboundMessage | None:
        """Returns a message as it is to leave.

        Raises:
            Withheld: it was sent before, or its recipient must not be written to (which is noted).
            PermanentFailure: mailbox, password, recipient or body are not what they must be.
        """
        found = outbound_mail.message_to_send(self._stores, tenant_id, message_id)
        if found is None:
            return None
        subject = f"message {message_id}"
        if found.is_sent or found.status not in ("queued", "deferred"):
            raise Withheld(subject, f"is {found.status} already", "Nothing to do.")
        if found.lead_status not in _WRITABLE:
            outbound_mail.withhold(self._stores, tenant_id, message_id)
            raise Withheld(subject, f"goes to a lead that is {found.lead_status}", "Nothing to do.")
        if found.mailbox_status not in _MAY_SEND:
            raise PermanentFailure(
                subject, f"has a mailbox that is {found.mailbox_status}", "Activate it, then replay."
            )
        if not found.recipient:
            raise PermanentFailure(subject, "names no recipient", "Nothing to do.")
        try:
            server = _server(self._stores, found, tenant_id)
        except SettingsError as error:
            raise PermanentFailure(error.thing, error.problem, error.remedy) from None
        return OutboundMessage(server, found.mailbox, found.recipient, self._body(found, subject))

    def record(self, tenant_id: UUID, message_id: UUID, sending: Sending) -> None:
        """Records that a message was sent or bounced."""
        if sending.state == "sent":
            outbound_mail.record_sent(self._stores, tenant_id, message_id, sending.at)
        else:
            outbound_mail.record_bounced(
                self._stores,
                tenant_id,
                message_id,
                sending.at,
                is_hard=sending.is_hard,
                code=sending.reply_status or str(sending.reply_code or ""),
                with_attempt=True,
            )

    def _body(self, found: outbound_mail.MessageToSend, subject: str) -> bytes:
        if found.raw_message is not None:
            return found.raw_message
        if found.content_storage_key is None:
            raise PermanentFailure(subject, "has no body", "Nothing to do.")
        try:
            return read_message(self._stores, storage_key=found.content_storage_key, bodies=MessageBodies(self._stores))
        except (ContentGone, ContentUnknown) as error:
            raise PermanentFailure(error.thing, error.problem, error.remedy) from None


class MailboxToWarm(BaseModel):
    """Payload of `warmup:process`: which mailbox of the job's tenant."""

    model_config = ConfigDict(extra="forbid")

    email_account_id: UUID


def warm_up(payload: MailboxToWarm, context: JobContext) -> None:
    """Does one step of warming a mailbox up: writes its next message and has it sent.

    The message is written once for the job, its sending is enqueued in the transaction that completes the job.

    Raises:
        PermanentFailure: the tenant has no such mailbox.
    """
    stores, job = resolve(), context.job
    if job.tenant_id is None:
        raise PermanentFailure("job", "names no tenant", "Enqueue it with its tenant.")
    step = next_step(stores, job.tenant_id, payload.email_account_id, key=str(job.id), at=_time_of(job))
    if step is None:
        raise PermanentFailure(f"mailbox {payload.email_account_id}", "is not the tenant's", "Correct the id.")
    if step.message_id is None:
        return
    with connect(stores.queue_url) as connection, connection.transaction():
        enqueue(
            connection,
            SENDING,
            MessageToSend(message_id=step.message_id),
            tenant_id=job.tenant_id,
            job_id=uuid5(job.id, SENDING),
        )
        context.finish_within(connection)


WARMUP = Handler("warmup:process", MailboxToWarm, warm_up)


def _server(stores: Stores, found: outbound_mail.MessageToSend, tenant_id: UUID) -> SmtpServer:
    settings: dict[str, Any] = found.smtp_settings or {}
    host, port = settings.get("host"), settings.get("port")
    if not isinstance(host, str) or not host or not isinstance(port, int) or not 0 < port < 65_536:
        raise SettingsError("SMTP settings of a mailbox", "name no host and port", "Complete them, then replay.")
    try:
        security = Security(settings.get("security") or _SECURITY_OF_PORT.get(port, Security.STARTTLS))
    except ValueError:
        raise SettingsError(
            "SMTP settings of a mailbox", "name an unknown security", f"Use one of {', '.join(Security)}."
        ) from None
    if found.vault_key_path is None:
        return SmtpServer(host, port, security)
    password = secret(stores, found.vault_key_path, tenant_id)
    return SmtpServer(host, port, security, settings.get("username") or found.mailbox, password)


def _time_of(job: StartedJob) -> datetime:
    """The time the job was made, which its id holds; of a foreign id without time this day's beginning."""
    if job.id.version == 7:
        return datetime.fromtimestamp((job.id.int >> 80) / 1000, UTC)
    return utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
