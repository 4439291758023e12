"""The platform's own handlers, as a worker finds them, on all real stores: what a job asks for is there afterwards."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any

import dagster as dg
import psycopg
import pytest
from oltp_support import shared_stores as oltp_stores  # noqa: F401 - a fixture
from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from queue_support import FIXTURES, STEADY, job, rows
from smtp_support import Inbox, smtp_server

from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.index import migrate as migrate_content
from penguinmails.content_store.reading import read_message
from penguinmails.olap.reading import open_marts
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.tenancy import tenant_session
from penguinmails.oltp.warming import allowance, warming_mailboxes
from penguinmails.pipelines.automation import queue_hourly
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.job_handlers.mail_receiving import object_key
from penguinmails.pipelines.jobs import enqueue_hourly
from penguinmails.pipelines.resources import Platform
from penguinmails.queue.drain import DrainReport, drain
from penguinmails.queue.handlers import Handlers
from penguinmails.queue.producer import enqueue
from penguinmails.queue.queues import QUEUES
from penguinmails.queue.schema import migrate_database
from penguinmails.stack.clock import utc_now
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.embedded_postgres import LOGINS
from penguinmails.stack.object_store import Bucket, BucketAddress
from penguinmails.stack.stores import Stores

redis_server = FIXTURES[0]
RAW = b"From: %b\r\nTo: %b\r\nSubject: Hello\r\nMessage-ID: <%b>\r\n\r\nA body of its own: %b\r\n"


@pytest.fixture(scope="module")
def stores(
    oltp_stores: Stores,  # noqa: F811
    redis_server: Embedded,
    servers: Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
) -> Iterator[Stores]:
    """Every store empty and this module's own, named in the environment as an operator would: handlers look there."""
    own = BucketAddress(
        f"test-{uuid.uuid4().hex[:12]}",
        **{
            name: getattr(servers.bucket(), name)
            for name in ("endpoint_url", "region", "access_key_id", "secret_access_key")
        },
    )
    Bucket(own).client.create_bucket(Bucket=own.name)
    names = {tier: f"test_{tier}_{uuid.uuid4().hex[:12]}" for tier in ("queue", "content")}
    template = template_database("queue", migrate_database)
    with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
        for tier, name in names.items():
            based_on = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if tier == "queue" else sql.SQL("")
            owner = sql.Identifier(LOGINS[tier])
            admin.execute(sql.SQL("CREATE DATABASE {} {} OWNER {}").format(sql.Identifier(name), based_on, owner))
        found = dataclasses.replace(
            oltp_stores,
            queue_url=servers.postgres_url(names["queue"], login=LOGINS["queue"]),
            content_url=servers.postgres_url(names["content"], login=LOGINS["content"]),
            redis_url=redis_server.redis_url(),
            bucket=own,
        )
        migrate_content(found)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in _settings(found).items():
                environment.setenv(name, value)
            yield found
        for name in names.values():
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    bucket = Bucket(own)
    bucket.delete([entry.key for entry in bucket.list("")])


def _settings(stores: Stores) -> dict[str, str]:
    address = stores.bucket
    assert address.access_key_id
    assert address.secret_access_key
    urls = {
        name: getattr(stores, name).get_secret_value()
        for name in ("oltp_url", "oltp_app_url", "content_url", "queue_url", "dagster_url", "redis_url")
    }
    return {f"PENGUINMAILS_{name.upper()}": url for name, url in urls.items()} | {
        "PENGUINMAILS_HOME": str(stores.home),
        "PENGUINMAILS_S3_ENDPOINT_URL": str(address.endpoint_url),
        "PENGUINMAILS_S3_BUCKET": address.name,
        "AWS_ACCESS_KEY_ID": address.access_key_id.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": address.secret_access_key.get_secret_value(),
    }


@dataclass
class Tenant:
    """A tenant with two mailboxes and a lead."""

    stores: Stores
    id: uuid.UUID
    company_id: uuid.UUID
    mailbox_id: uuid.UUID
    mailbox: str
    neighbour: str
    lead_id: uuid.UUID
    lead: str

    def oltp(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement gives in the OLTP database, past row level security."""
        with psycopg.connect(self.stores.oltp_url.get_secret_value(), autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def compose(self, *, body: bytes = b"hello", to: str | None = None) -> tuple[uuid.UUID, bytes]:
        """Writes a message to be sent, as the application does, and returns it."""
        message_id = time_ordered_uuid(utc_now(), uuid.uuid4().bytes)
        recipient = to or self.lead
        raw = RAW % (self.mailbox.encode(), recipient.encode(), f"{message_id}@{self.id}.test".encode(), body)
        with (
            psycopg.connect(self.stores.oltp_app_url.get_secret_value(), autocommit=True) as connection,
            tenant_session(connection, self.id) as session,
        ):
            session.execute(
                "INSERT INTO email_messages (id, company_id, email_account_id, lead_id, direction, message_id_header, "
                "from_email, to_email, raw_size_bytes) VALUES (%s, %s, %s, %s, 'outbound', %s, %s, %s, %s)",
                [
                    message_id,
                    self.company_id,
                    self.mailbox_id,
                    self.lead_id,
                    f"<{message_id}@{self.id}.test>",
                    self.mailbox,
                    recipient,
                    len(raw),
                ],
            )
            session.execute(
                "INSERT INTO email_message_bodies (message_id, raw_message) VALUES (%s, %s)", [message_id, raw]
            )
        return message_id, raw

    def job(self, queue_name: str, payload: dict[str, Any]) -> uuid.UUID:
        with psycopg.connect(self.stores.queue_url.get_secret_value(), autocommit=True) as connection:
            return enqueue(connection, queue_name, payload, tenant_id=self.id).id

    def events(self, message_id: uuid.UUID) -> list[str]:
        return [
            row[0]
            for row in self.oltp(
                "SELECT event_type FROM email_events WHERE tenant_id = %s AND message_id = %s ORDER BY event_type",
                self.id,
                message_id,
            )
        ]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def tenant(stores: Stores, inbox: Inbox) -> Iterator[Tenant]:
    """A tenant of its own, whose mailboxes send through the server of `inbox`."""
    name = uuid.uuid4().hex[:8]
    ids = {key: uuid.uuid4() for key in ("tenant", "company", "domain", "mailbox", "neighbour", "lead")}
    made = Tenant(
        stores,
        ids["tenant"],
        ids["company"],
        ids["mailbox"],
        f"one@{name}.example",
        f"two@{name}.example",
        ids["lead"],
        f"lead@{name}.test",
    )
    with smtp_server(inbox) as port:
        smtp = Jsonb({"host": "127.0.0.1", "port": port, "security": "none"})
        made.oltp("INSERT INTO tenants (id, name) VALUES (%s, %s)", made.id, name)
        made.oltp("INSERT INTO companies (tenant_id, id, name) VALUES (%s, %s, %s)", made.id, made.company_id, name)
        made.oltp(
            "INSERT INTO domains (tenant_id, id, company_id, domain) VALUES (%s, %s, %s, %s)",
            made.id,
            ids["domain"],
            made.company_id,
            f"{name}.example",
        )
        for account_id, address in ((made.mailbox_id, made.mailbox), (ids["neighbour"], made.neighbour)):
            made.oltp(
                "INSERT INTO email_accounts (tenant_id, id, domain_id, email, smtp_settings) VALUES (%s, %s, %s, %s, %s)",
                made.id,
                account_id,
                ids["domain"],
                address,
                smtp,
            )
        made.oltp("INSERT INTO leads (tenant_id, id, email) VALUES (%s, %s, %s)", made.id, made.lead_id, made.lead)
        yield made


def _drain(stores: Stores) -> DrainReport:
    rows(stores, "UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")
    return drain(stores, configuration=STEADY)


def _leave(stores: Stores, tenant: Tenant, name: str, raw: bytes) -> None:
    """Leaves a message as a mail server does."""
    Bucket(stores.bucket).put(object_key(tenant.id, name), raw)


def test_every_queue_of_the_product_has_a_handler() -> None:
    handlers = Handlers.installed()
    assert set(handlers.queue_names) >= {definition.name for definition in QUEUES}
    assert all(handlers[definition.name].queue_name == definition.name for definition in QUEUES)


def test_a_sent_message_is_in_the_marts_after_a_roll_up(stores: Stores, tenant: Tenant, inbox: Inbox) -> None:
    message_id, raw = tenant.compose()
    tenant.job("email-sending", {"message_id": str(message_id)})
    assert _drain(stores).completed == 1
    assert (inbox.messages, inbox.recipients) == ([raw], [tenant.lead])
    refused, _ = tenant.compose()
    inbox.recipient_answer = "550 5.1.1 no such user"
    tenant.job("email-sending", {"message_id": str(refused)})
    assert _drain(stores).completed == 1
    assert (tenant.events(message_id), tenant.events(refused)) == (["sent"], ["bounced", "sent"])
    asked = tenant.job("analytics:daily-aggregate", {})
    assert _drain(stores).completed == 1
    with open_marts(stores) as marts:
        counted = marts.execute(
            "SELECT day, sent, bounced FROM mailbox_daily WHERE tenant_id = $1", [tenant.id]
        ).fetchall()
    assert counted == [(utc_now().date(), 2, 1)]
    assert rows(stores, "SELECT job_type, status FROM analytics_jobs WHERE id = %s", [asked]) == [
        ("analytics:daily-aggregate", "completed")
    ]
    assert tenant.oltp("SELECT status FROM leads WHERE id = %s", tenant.lead_id) == [("bounced",)]
    later, _ = tenant.compose()  # to somebody who cannot be reached
    tenant.job("email-sending", {"message_id": str(later)})
    inbox.recipient_answer = ""
    assert _drain(stores).completed == 1
    assert len(inbox.messages) == 1
    assert tenant.oltp("SELECT status FROM email_messages WHERE id = %s", later) == [("failed",)]


def test_one_roll_up_serves_all_that_were_asked_before_it(stores: Stores, tenant: Tenant) -> None:
    for queue_name in ("analytics:campaign-aggregate", "analytics:billing-calculate", "analytics:daily-aggregate"):
        tenant.job(queue_name, {})
    before = _published(stores)
    assert _drain(stores).completed == 3
    assert _published(stores) == before + 1
    tenant.job("analytics:daily-aggregate", {"day": utc_now().date().isoformat()})
    assert _drain(stores).completed == 1
    assert _published(stores) == before + 2


def _published(stores: Stores) -> int:
    if not (stores.marts_folder / "marts.duckdb").exists():
        return 0
    with open_marts(stores) as marts:
        row = marts.execute("SELECT number FROM _meta").fetchone()
    assert row is not None
    return int(row[0])


def test_a_body_that_has_left_for_the_content_tier_is_sent_from_there(
    stores: Stores, tenant: Tenant, inbox: Inbox
) -> None:
    message_id, raw = tenant.compose(body=b"kept elsewhere")
    hand_over(stores, MessageBodies(stores), clock=utc_now, grace=timedelta(0))
    assert MessageBodies(stores).body(message_id) is None
    tenant.job("email-sending", {"message_id": str(message_id)})
    assert _drain(stores).completed == 1
    assert inbox.messages == [raw]


def test_what_cannot_be_sent_says_why(stores: Stores, tenant: Tenant, inbox: Inbox) -> None:
    message_id, _ = tenant.compose()
    asked = tenant.job("email-sending", {"message_id": str(message_id)})
    vault, stranger = stores.home / "vault", uuid.uuid4()
    for owner in (tenant.id, stranger):
        (vault / str(owner)).mkdir(parents=True)
        (vault / str(owner) / "one").write_text("word\n")

    def point_at(path: str) -> None:
        tenant.oltp("UPDATE email_accounts SET vault_key_path = %s WHERE id = %s", f"vault://{path}", tenant.mailbox_id)

    point_at(f"{tenant.id}/none")
    assert _drain(stores).dead == 1
    assert "is not in the vault" in job(stores, asked)["last_error_message"]
    point_at(f"{stranger}/one")
    asked = tenant.job("email-sending", {"message_id": str(message_id)})
    assert _drain(stores).dead == 1
    assert "does not name its tenant" in job(stores, asked)["last_error_message"]
    point_at(f"{tenant.id}/one")
    asked = tenant.job("email-sending", {"message_id": str(message_id)})
    assert _drain(stores).retried == 1  # this server knows no login
    tenant.oltp("UPDATE email_accounts SET status = 'paused', vault_key_path = NULL WHERE id = %s", tenant.mailbox_id)
    assert _drain(stores).dead == 1
    assert "mailbox that is paused" in job(stores, asked)["last_error_message"]
    other = tenant.job("email-sending", {"message_id": str(stranger)})
    assert _drain(stores).dead == 1
    assert "is not the tenant's" in job(stores, other)["last_error_message"]
    assert inbox.messages == []


def test_mail_that_arrives_is_taken_in_once_and_handed_over(stores: Stores, tenant: Tenant) -> None:
    sent_id, _ = tenant.compose()
    tenant.job("email-sending", {"message_id": str(sent_id)})
    assert _drain(stores).completed == 1
    answer = (
        f"From: {tenant.lead}\r\nTo: somebody@else.test\r\nSubject: Re: Hello\r\n"
        f"In-Reply-To: <{sent_id}@{tenant.id}.test>\r\nMessage-ID: <answer@{tenant.id}.test>\r\n\r\nYes.\r\n"
    ).encode()
    payload = {"email_account_id": str(tenant.mailbox_id), "object_name": "answer.eml"}
    _leave(stores, tenant, "answer.eml", answer)
    tenant.job("email:processing", payload)
    tenant.job("email:processing", payload)  # delivered twice
    assert _drain(stores).completed == 2
    assert list(Bucket(stores.bucket).list(f"inbound-mail/{tenant.id}/")) == []
    inbound = (
        "SELECT id, email_account_id, lead_id, parent_message_id FROM email_messages "
        "WHERE tenant_id = %s AND direction = 'inbound'"
    )
    ((message_id, *found),) = tenant.oltp(inbound, tenant.id)
    assert found == [tenant.mailbox_id, tenant.lead_id, sent_id]
    assert tenant.events(sent_id) == ["replied", "sent"]
    hand_over(stores, MessageBodies(stores), clock=utc_now, grace=timedelta(0))
    ((key,),) = tenant.oltp("SELECT content_storage_key FROM email_messages WHERE id = %s", message_id)
    assert read_message(stores, storage_key=key) == answer
    addresses = "SELECT email FROM email_accounts WHERE tenant_id = %s ORDER BY email"
    assert tenant.oltp(addresses, tenant.id) == [(tenant.mailbox,), (tenant.neighbour,)]


def test_what_is_no_mail_is_set_aside_and_what_is_not_there_is_said(stores: Stores, tenant: Tenant) -> None:
    payload = {"email_account_id": str(tenant.mailbox_id), "object_name": "x.eml"}
    missing = tenant.job("email:processing", payload)
    assert _drain(stores).dead == 1
    assert "is not there" in job(stores, missing)["last_error_message"]
    _leave(stores, tenant, "x.eml", b"\x00\x01 no mail at all")
    tenant.job("email:processing", payload)
    _leave(stores, tenant, "y.eml", b"From: a@b.test\r\n\r\nx")
    foreign = tenant.job("email:processing", {"email_account_id": str(uuid.uuid4()), "object_name": "y.eml"})
    climbing = tenant.job("email:processing", payload | {"object_name": "../x.eml"})
    report = _drain(stores)
    assert (report.completed, report.dead) == (1, 2)
    assert tenant.oltp("SELECT outcome FROM mail_intake WHERE tenant_id = %s", tenant.id) == [("set_aside",)]
    assert "is not the tenant's" in job(stores, foreign)["last_error_message"]
    assert "object_name" in job(stores, climbing)["last_error_message"]


def test_a_bounce_marks_message_and_lead_once(stores: Stores, tenant: Tenant) -> None:
    message_id, _ = tenant.compose()
    tenant.job("email-sending", {"message_id": str(message_id)})
    assert _drain(stores).completed == 1
    told = {"message_id": str(message_id), "occurred_at": datetime.now(UTC).isoformat(), "code": "5.1.1"}
    state = "SELECT status, bounce_type FROM email_messages WHERE id = %s"
    lead = "SELECT status FROM leads WHERE id = %s"
    tenant.job("bounce:process", told | {"bounce_type": "soft"})
    assert _drain(stores).completed == 1
    assert (tenant.oltp(state, message_id), tenant.oltp(lead, tenant.lead_id)) == ([("bounced", "soft")], [("active",)])
    for _ in range(2):
        tenant.job("bounce:process", told | {"bounce_type": "hard"})
    tenant.job("bounce:process", told | {"bounce_type": "hard", "message_id": str(uuid.uuid4())})
    report = _drain(stores)
    assert (report.completed, report.dead) == (2, 1)
    assert (tenant.oltp(state, message_id), tenant.oltp(lead, tenant.lead_id)) == (
        [("bounced", "hard")],
        [("bounced",)],
    )
    assert tenant.events(message_id) == ["bounced", "bounced", "sent"]


def test_a_mailbox_is_warmed_up_within_its_allowance(stores: Stores, tenant: Tenant, inbox: Inbox) -> None:
    tenant.oltp("UPDATE email_accounts SET status = 'warming' WHERE id = %s", tenant.mailbox_id)
    assert tenant.mailbox_id in [each.email_account_id for each in warming_mailboxes(stores)]
    for _ in range(allowance(0) + 2):
        tenant.job("warmup:process", {"email_account_id": str(tenant.mailbox_id)})
    report = _drain(stores)
    assert report.completed == allowance(0) + 2 + allowance(0)  # the steps, and the messages they had sent
    assert len(inbox.messages) == allowance(0)
    assert set(inbox.recipients) == {tenant.neighbour}
    parsed = message_from_bytes(inbox.messages[0])
    assert (parsed["From"], parsed["To"]) == (tenant.mailbox, tenant.neighbour)
    warmed = "SELECT last_warmed IS NOT NULL FROM email_accounts WHERE id = %s"
    assert tenant.oltp(warmed, tenant.mailbox_id) == [(True,)]
    kinds = "SELECT message_type, status, count(*) FROM email_messages WHERE tenant_id = %s GROUP BY 1, 2"
    assert tenant.oltp(kinds, tenant.id) == [("warmup", "sent", allowance(0))]
    tenant.oltp("UPDATE email_accounts SET status = 'paused' WHERE id = %s", tenant.mailbox_id)
    tenant.job("warmup:process", {"email_account_id": str(tenant.mailbox_id)})
    assert _drain(stores).completed == 1
    assert len(inbox.messages) == allowance(0)


def test_the_jobs_of_an_hour_are_enqueued_once(stores: Stores, tenant: Tenant) -> None:
    tenant.oltp("UPDATE email_accounts SET status = 'warming' WHERE id = %s", tenant.mailbox_id)
    definitions = build_defs({"platform": Platform(stores)})
    (tick, again) = (datetime(2026, 1, 2, hour, tzinfo=UTC) for hour in (3, 4))
    for scheduled in (tick, tick, again):
        request = queue_hourly(dg.build_schedule_context(scheduled_execution_time=scheduled))
        assert isinstance(request, dg.RunRequest)
        with dg.DagsterInstance.ephemeral() as instance:
            assert (
                definitions.resolve_job_def(enqueue_hourly.name)
                .execute_in_process(instance=instance, run_config=request.run_config)
                .success
            )
    live = "SELECT queue_name, count(*) FROM jobs WHERE status = 'queued' GROUP BY 1 ORDER BY 1"
    assert rows(stores, live) == [("analytics:daily-aggregate", 1), ("warmup:process", 1)]
    assert rows(stores, "SELECT count(*) FROM queue_ticks") == [(4,)]
    assert _drain(stores).completed == 3
