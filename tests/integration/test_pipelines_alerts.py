"""Alerts: every failed check and run is told once, by webhook and mail on real servers; what cannot be sent is tried again."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from smtp_support import Inbox, smtp_server

from penguinmails.pipelines.alerts import failed_checks, failed_runs

RECEIVED: list[dict[str, Any]] = []


class Hook(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        body, status = self.rfile.read(int(self.headers["Content-Length"])), type(self).status
        if status == 200:
            RECEIVED.append(json.loads(body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hook]]:
    RECEIVED.clear()
    Hook.status = 200
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PENGUINMAILS_ALERT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield Hook
    server.shutdown()
    server.server_close()


@dg.asset(key=["olap", "broken"])
def broken() -> None:
    raise ValueError("somebody@private.example could stand here")


@dg.asset(key=["olap", "doubtful"], check_specs=[dg.AssetCheckSpec("agrees", asset=["olap", "doubtful"])])
def doubtful(passes: dg.ResourceParam[bool]) -> Iterator[dg.MaterializeResult[None]]:
    check = dg.AssetCheckResult(passed=passes, check_name="agrees", description="3 days differ. Run 'marts rebuild'.")
    yield dg.MaterializeResult(check_results=[check])


def look(instance: dg.DagsterInstance, cursor: str | None) -> str:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        failed_checks(context)
        assert context.cursor is not None
        return context.cursor


def test_a_failed_check_is_told_once_with_its_way_out(hook: type[Hook]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = look(instance, None)
        assert dg.materialize([doubtful], instance=instance, resources={"passes": False}).success
        cursor = look(instance, cursor)
        cursor = look(instance, cursor)
    (alert,) = RECEIVED
    assert alert["title"] == "1 checks failed"
    assert "olap/doubtful agrees: 3 days differ. Run 'marts rebuild'." in alert["text"]


def test_a_check_that_goes_on_failing_is_told_once_and_so_is_its_end(hook: type[Hook]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = look(instance, None)
        for outcome in (False, False, True, True, False):
            assert dg.materialize([doubtful], instance=instance, resources={"passes": outcome}).success
            cursor = look(instance, cursor)
    assert [alert["title"] for alert in RECEIVED] == ["1 checks failed", "1 checks pass again", "1 checks failed"]


def test_an_alert_that_could_not_be_sent_is_tried_again(hook: type[Hook]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = look(instance, None)
        dg.materialize([doubtful], instance=instance, resources={"passes": False})
        hook.status = 500
        with pytest.raises(OSError, match="Webhook: HTTPError"):
            look(instance, cursor)
        hook.status = 200
        look(instance, cursor)
    assert len(RECEIVED) == 1


def test_a_failed_run_is_told_by_mail_without_the_text_of_its_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Inbox()
    with smtp_server(mailbox) as port, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("PENGUINMAILS_ALERT_SMTP_URL", f"smtp://127.0.0.1:{port}")
        monkeypatch.setenv("PENGUINMAILS_ALERT_EMAIL", "operators@example.test")
        result = dg.materialize([broken], instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        failed_runs(context)
    (message,) = mailbox.messages
    assert b"olap__broken failed" in message
    assert result.run_id.encode() in message
    assert b"private.example" not in message
