"""Webhooks against a real HTTP server on loopback, sent through the queue."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from queue_support import FIXTURES, STEADY, job

from penguinmails.queue.drain import DrainReport, drain
from penguinmails.queue.handlers import Handler, Handlers
from penguinmails.queue.producer import enqueue
from penguinmails.queue.webhooks import QUEUE_NAME, WEBHOOK, WebhookEvent, WebhookSender, load_master_key, signing_key
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
KEY = b"k" * 32
TENANT = uuid4()
EVENT = {"event_type": "email.sent", "occurred_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(), "data": {"id": 7}}


class Endpoint(ThreadingHTTPServer):
    """Remembers what was posted and answers what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.posts: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?x=1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("location", self.server.url)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)


def _drain(stores: Stores, *, allow_private: bool = True) -> DrainReport:
    sender = WebhookSender(KEY, allow_private=allow_private)
    return drain(stores, Handlers({QUEUE_NAME: Handler(QUEUE_NAME, WebhookEvent, sender.handle)}), configuration=STEADY)


def test_an_event_is_posted_signed_and_repeated_under_the_same_id(
    stores: Stores, connection: psycopg.Connection, endpoint: Endpoint
) -> None:
    tenant_id = uuid4()
    endpoint.answers = [503]
    enqueued = enqueue(connection, QUEUE_NAME, EVENT | {"url": endpoint.url}, tenant_id=tenant_id)
    assert _drain(stores).retried == 1
    assert "answered 503" in job(stores, enqueued.id)["last_error_message"]
    connection.execute("UPDATE jobs SET run_at = now()")
    assert _drain(stores).completed == 1
    (first, _), (second, body) = endpoint.posts
    assert first["webhook-id"] == second["webhook-id"] == str(enqueued.id)
    assert json.loads(body) == {"type": "email.sent", "timestamp": "2026-01-02T00:00:00+00:00", "data": {"id": 7}}
    signed = f"{second['webhook-id']}.{second['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(signing_key(KEY, tenant_id), signed, hashlib.sha256)).decode()
    assert second["webhook-signature"] == f"v1,{expected}"
    assert signing_key(KEY, tenant_id) != signing_key(KEY, uuid4())


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_a_refusal_is_final_and_a_redirect_is_not_followed(
    stores: Stores, connection: psycopg.Connection, endpoint: Endpoint, status: int
) -> None:
    endpoint.answers = [status]
    enqueue(connection, QUEUE_NAME, EVENT | {"url": endpoint.url}, tenant_id=TENANT)
    assert _drain(stores).dead == 1
    assert len(endpoint.posts) == 1


PRIVATE = [
    "https://127.0.0.1/",
    "https://localhost/",
    "https://10.1.2.3/",
    "https://192.168.0.1:8443/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[fd00::1]/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "http://example.com/",
    "file:///etc/passwd",
    "https:///nothing",
    "https://host:99999/",
    "no url",
    "https://example.com/a b",
    "https://example.com/\u00e9",
    "https://example.com/a\x7f",
]


def test_no_private_address_is_called(stores: Stores, connection: psycopg.Connection) -> None:
    for url in PRIVATE:
        enqueue(connection, QUEUE_NAME, EVENT | {"url": url}, tenant_id=TENANT)
    nobodys = enqueue(connection, QUEUE_NAME, EVENT | {"url": "https://example.com/"})
    report = _drain(stores, allow_private=False)
    assert (report.dead, report.completed, report.retried) == (len(PRIVATE) + 1, 0, 0)
    reasons = dict(connection.execute("SELECT id, last_error_message FROM jobs").fetchall())
    assert reasons.pop(nobodys.id) == "job: names no tenant. Enqueue it with its tenant."
    assert all(reason.startswith("webhook URL: ") for reason in reasons.values())


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    made = load_master_key(tmp_path / "keys")
    assert load_master_key(tmp_path / "keys") == made
    assert (tmp_path / "keys" / "webhook.key").stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_the_platform_has_the_handler() -> None:
    assert Handlers.installed()[QUEUE_NAME] is WEBHOOK
    assert "platform:ping" in Handlers.installed().queue_names
