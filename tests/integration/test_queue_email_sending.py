"""Sending mail through a real SMTP server on loopback, never twice for one job."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from queue_support import FIXTURES, STEADY, job, rows
from smtp_support import Inbox, smtp_server

from penguinmails.queue.drain import DrainReport, drain
from penguinmails.queue.email_sending import (
    QUEUE_NAME,
    MailSender,
    MessageToSend,
    OutboundMessage,
    Sending,
    Withheld,
)
from penguinmails.queue.handlers import Handler, Handlers
from penguinmails.queue.operations import JobFilter, Order, replay
from penguinmails.queue.producer import Enqueued, enqueue
from penguinmails.queue.smtp_session import Security, SmtpServer
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
RAW = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\n.dot and \xe9\r\n"


TENANT = UUID("01900000-0000-7000-8000-000000000001")


class Mail:
    """The port, as another tier would give it."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self.known = True
        self.withheld = False
        self.events: list[tuple[UUID, str, int | None]] = []
        self.hard: list[bool] = []
        self.dies_at_record = False

    def message(self, tenant_id: UUID, _: UUID) -> OutboundMessage | None:
        assert tenant_id == TENANT
        if self.withheld:
            raise Withheld("message", "was sent before", "Nothing to do.")
        return OutboundMessage(self._server, "a@example.org", "b@example.org", RAW) if self.known else None

    def record(self, tenant_id: UUID, message_id: UUID, sending: Sending) -> None:
        assert tenant_id == TENANT
        assert sending.at.tzinfo
        if self.dies_at_record:
            self.dies_at_record = False
            raise RuntimeError
        self.events.append((message_id, sending.state, sending.reply_code))
        self.hard.append(sending.is_hard)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def mail(inbox: Inbox) -> Iterator[Mail]:
    with smtp_server(inbox) as port:
        yield Mail(SmtpServer("127.0.0.1", port, Security.NONE))


def _drain(stores: Stores, mail: Mail) -> DrainReport:
    handler = Handler(QUEUE_NAME, MessageToSend, MailSender(stores, mail).handle)
    rows(stores, "UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")
    return drain(stores, Handlers({QUEUE_NAME: handler}), configuration=STEADY)


def _enqueue(
    connection: psycopg.Connection, message_id: UUID | None = None, *, resend: bool = False
) -> tuple[Enqueued, UUID]:
    message_id = message_id or uuid4()
    payload = MessageToSend(message_id=message_id, resend=resend)
    return enqueue(connection, QUEUE_NAME, payload, tenant_id=TENANT), message_id


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
    enqueued, message_id = _enqueue(connection)
    inbox.data_answer = "hang up"
    assert _drain(stores, mail).dead == 1
    replay(stores, JobFilter(), Order("tester", "a test", dry_run=False))
    assert _drain(stores, mail).dead == 1
    assert len(inbox.messages) == 1
    assert "did not live to hear the answer" in job(stores, enqueued.id)["last_error_message"]
    assert mail.events == []
    _enqueue(connection, message_id)
    assert _drain(stores, mail).dead == 1
    inbox.data_answer = ""
    _enqueue(connection, message_id, resend=True)  # a person has looked
    assert _drain(stores, mail).completed == 1
    assert len(inbox.messages) == 2
    assert mail.events == [(message_id, "sent", 250)]


def test_two_jobs_of_one_message_send_it_once(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail
) -> None:
    _, message_id = _enqueue(connection)
    _enqueue(connection, message_id)
    _enqueue(connection, message_id, resend=True)
    assert _drain(stores, mail).completed == 3
    assert len(inbox.messages) == 1


def test_a_withheld_message_is_done_and_one_without_a_tenant_is_not(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail
) -> None:
    mail.withheld = True
    _enqueue(connection)
    enqueue(connection, QUEUE_NAME, {"message_id": str(uuid4())})
    report = _drain(stores, mail)
    assert (report.completed, report.dead, inbox.messages, mail.events) == (1, 1, [], [])


def test_nothing_is_sent_elsewhere_without_tls() -> None:
    with pytest.raises(SettingsError):
        SmtpServer("mail.example.org", 25, Security.NONE)


@pytest.mark.parametrize(
    ("recipient", "data", "is_hard"),
    [
        ("550 no such user", "", True),
        ("550 5.7.1 not from you", "", False),
        ("554 5.1.1 unknown", "", True),
        ("", "554 spam", False),
    ],
)
def test_a_refusal_is_a_bounce(
    stores: Stores, connection: psycopg.Connection, inbox: Inbox, mail: Mail, recipient: str, data: str, is_hard: bool
) -> None:
    _, message_id = _enqueue(connection)
    inbox.recipient_answer, inbox.data_answer = recipient, data
    assert _drain(stores, mail).completed == 1
    assert mail.events == [(message_id, "bounced", int((recipient or data)[:3]))]
    assert mail.hard == [is_hard]


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
    away = Mail(SmtpServer("127.0.0.1", 1, Security.NONE))
    assert _drain(stores, away).retried == 1
    mail.known = False
    assert _drain(stores, mail).dead == 1
    assert rows(stores, "SELECT * FROM queue_sent_mail") == []
