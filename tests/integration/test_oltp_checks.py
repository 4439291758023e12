"""Checks and commands: silent while all is well, and loud about each thing that is not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from oltp_support import NOW, ListSource, clock, items, mail, rows, shared_stores, stores

from penguinmails.oltp import cli
from penguinmails.oltp.checking import check_database
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.doctor import examine
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.seeding import seed
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
FAULTS = {
    "OLTP schema": "ALTER TABLE leads ADD COLUMN shoe_size int",
    "OLTP isolation": "ALTER TABLE email_events_2026_09 NO FORCE ROW LEVEL SECURITY",
    "OLTP partitions ahead": "ALTER TABLE email_events DETACH PARTITION email_events_2026_12; "
    "DROP TABLE email_events_2027_01, email_events_2027_02, email_events_2027_03",
    "OLTP default partitions": "INSERT INTO email_events (tenant_id, message_id, event_type, occurred_at) "
    "VALUES (gen_random_uuid(), gen_random_uuid(), 'sent', '2050-01-01')",
    "OLTP references": "INSERT INTO email_events (tenant_id, message_id, event_type, occurred_at) "
    "VALUES (gen_random_uuid(), gen_random_uuid(), 'sent', '2026-11-19')",
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_its_check(stores: Stores, name: str) -> None:
    with connect(stores.oltp_url) as connection, connection.transaction(force_rollback=True):
        assert [finding for finding in check_database(connection, NOW) if not finding.ok] == []
        connection.execute(FAULTS[name])  # type: ignore[call-overload]
        broken = {finding.name: finding for finding in check_database(connection, NOW) if not finding.ok}
        assert name in broken
        assert broken[name].remedy


def test_an_empty_database_is_told_apart(stores: Stores) -> None:
    other = dataclasses.replace(stores, oltp_url=stores.content_url)
    findings = examine(other, clock=clock)
    assert not all(finding.ok for finding in findings)
    assert all(finding.remedy for finding in findings if not finding.ok)


@pytest.fixture
def run(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    monkeypatch.setattr(cli, "resolve", lambda: stores)

    def command(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.oltp, list(arguments), catch_exceptions=True)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    return command


def test_every_command_speaks_to_people_and_machines(
    run: Callable[..., tuple[int, str]], stores: Stores, tmp_path: Path
) -> None:
    box = tmp_path / "folder"
    box.mkdir()
    (box / "one.eml").write_bytes(mail(1))
    (box / "two.eml").write_bytes(b"no mail")
    _, loaded = run("load", str(box), "--json")
    assert json.loads(loaded)["reasons"] == {"no_headers": 1}
    _, listed = run("messages", "--json")
    [message] = json.loads(listed)
    assert (message["item_name"], message["storage_key"], len(message["sha256"])) == ("one.eml", None, 64)
    _, aside = run("set-aside", "--json")
    [kept] = json.loads(aside)
    assert run("set-aside", "--get", kept["id"])[1] == "no mail"
    assert run("load", str(box))[1].startswith("Read 2 items")
    seed(stores, scale="tiny")
    with connect(stores.oltp_url, Role.OWNER) as connection:
        connection.execute("ANALYZE")
    for arguments in (
        ["migrate"],
        ["migrate", "--json"],
        ["migrate", "--sql"],
        ["seed", "--scale", "tiny", "--json"],
        ["messages"],
        ["set-aside"],
        ["partitions"],
        ["partitions", "--make", "--json"],
        ["retention"],
        ["retention", "--json"],
        ["explain", "--as-if-large", "--json"],
    ):
        code, shown = run(*arguments)
        assert code == 0 or arguments[0] == "explain", arguments  # so few rows need no index
        if "--json" in arguments:
            json.loads(shown)


def test_check_tells_by_its_exit_code(run: Callable[..., tuple[int, str]], stores: Stores) -> None:
    load_mail(stores, ListSource(items(mail(1))), clock=clock)
    assert run("check", "--json")[0] == 0
    with connect(stores.oltp_url, Role.OWNER) as connection:
        connection.execute("COMMENT ON TABLE leads IS 'other'")
    code, shown = run("check")
    assert code == 1
    assert "leads" in shown
    run("migrate")
    assert run("check")[0] == 0
