"""Sending mail through a real SMTP server on loopback, never twice for one job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from aiosmtpd.controller import Controller
from queue_support import FIXTURES, SHORT, job, rows

from penguinmails.queue.drain import DrainReport, drain
from penguinmails.queue.email_sending import QUEUE_NAME, MailSender, MessageToSend, OutboundMessage, SmtpServer
from penguinmails.queue.handlers import Handler, Handlers
from penguinmails.queue.operations import JobFilter, Order, replay
from penguinmails.queue.producer import Enqueued, enqueue
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
RAW = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\n.dot and \xe9\r\n"


@dataclass
class Inbox:
    """The server's side: what it took, and what it answers."""

    messages: list[bytes] = field(default_factory=list)
    recipient_answer: str = ""
    data_answer: str = ""

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if self.recipient_answer:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(envelope.content)
        if self.data_answer == "hang up":
            server.transport.abort()
        return self.data_answer or "250 OK"


class Mail:
    """The port, as another tier would give it."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self.known = True
        self.events: list[tuple[UUID, str, int]] = []
        self.dies_at_record = False

    def message(self, _: UUID) -> OutboundMessage | None:
        return OutboundMessage(self._server, "a@example.org", "b@example.org", RAW) if self.known else None

    def record(self, message_id: UUID, event: str, *, key: UUID, at: datetime, reply_code: int) -> None:
        assert key
        assert at.tzinfo
        if self.dies_at_record:
            self.dies_at_record = False
            raise RuntimeError
        self.events.append((message_id, event, reply_code))


class _OnAFreePort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def mail(inbox: Inbox) -> Iterator[Mail]:
    controller = _OnAFreePort(inbox, hostname="127.0.0.1", port=0)
    controller.start()
    yield Mail(SmtpServer("127.0.0.1", controller.port, requires_tls=False))
    controller.stop()


def _drain(stores: Stores, mail: Mail) -> DrainReport:
    handler = Handler(QUEUE_NAME, MessageToSend, MailSender(stores, mail).handle)
    rows(stores, "UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")
    return drain(stores, Handlers({QUEUE_NAME: handler}), configuration=SHORT)


def _enqueue(connection: psycopg.Connection) -> tuple[Enqueued, UUID]:
    message_id = uuid4()
    return enqueue(connection, QUEUE_NAME, {"message_id": str(message_id)}), message_id


def test_a_message_is_sent_as_it_is(stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail) -> None:
    _, message_id = _enqueue(connection)
    assert _drain(stores, mail).completed == 1
    assert inbox.messages == [RAW]
    assert mail.events == [(message_id, "sent", 250)]


def test_what_was_sent_is_not_sent_again(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail
) -> None:
    """The run dies after the server took the message and before anybody was told."""
    _enqueue(connection)
    mail.dies_at_record = True
    assert _drain(stores, mail).retried == 1
    assert _drain(stores, mail).completed == 1
    assert len(inbox.messages) == len(mail.events) == 1


def test_an_unheard_answer_is_never_followed_by_a_second_sending(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail
) -> None:
    enqueued, _ = _enqueue(connection)
    inbox.data_answer = "hang up"
    assert _drain(stores, mail).dead == 1
    replay(stores, JobFilter(), Order("tester", "a test", dry_run=False))
    assert _drain(stores, mail).dead == 1
    assert len(inbox.messages) == 1
    assert "did not live to hear the answer" in job(stores, enqueued.id)["last_error_message"]
    assert mail.events == []


@pytest.mark.parametrize(("recipient", "data"), [("550 no such user", ""), ("", "554 spam")])
def test_a_refusal_is_a_bounce(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail, recipient: str, data: str
) -> None:
    _, message_id = _enqueue(connection)
    inbox.recipient_answer, inbox.data_answer = recipient, data
    assert _drain(stores, mail).completed == 1
    assert mail.events == [(message_id, "bounced", int((recipient or data)[:3]))]


@pytest.mark.parametrize(("recipient", "data"), [("451 later", ""), ("", "452 later")])
def test_not_now_is_tried_again(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail, recipient: str, data: str
) -> None:
    _enqueue(connection)
    inbox.recipient_answer, inbox.data_answer = recipient, data
    assert _drain(stores, mail).retried == 1
    inbox.recipient_answer = inbox.data_answer = ""
    assert _drain(stores, mail).completed == 1
    assert [event for _, event, _ in mail.events] == ["sent"]


def test_a_server_that_is_away_is_tried_again_and_a_missing_message_is_not(
    stores: Stores, connection: psycopg.Connection, mail: Mail
) -> None:
    _enqueue(connection)
    away = Mail(SmtpServer("127.0.0.1", 1, requires_tls=False))
    assert _drain(stores, away).retried == 1
    mail.known = False
    assert _drain(stores, mail).dead == 1
    assert rows(stores, "SELECT * FROM queue_sent_mail") == []
