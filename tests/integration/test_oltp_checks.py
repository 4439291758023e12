"""Checks and commands: silent while all is well, and loud about each thing that is not."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from oltp_support import NOW, TESTER, ListSource, clock, items, mail, rows, shared_stores, stores
from pydantic import SecretStr

from penguinmails.oltp import cli, cli_contexts, contexts
from penguinmails.oltp.checking import check_database
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.doctor import examine
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.seeding import seed
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
NOBODY = UUID(int=0)
SIGNED = rf"""SET app.current_tenant_id = '{NOBODY}';
SET app.current_user_id = '{NOBODY}';
SET app.context_seal = '1\.[0-9a-f]{{16}}\.[0-9]{{10}}\.[0-9a-f]{{64}}';
"""
FAULTS = {
    "OLTP schema": "ALTER TABLE leads ADD COLUMN shoe_size int",
    "OLTP contexts": "CREATE OR REPLACE FUNCTION app.context_is_proven() RETURNS boolean LANGUAGE sql STABLE RETURN NOT false",
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
    monkeypatch.setattr(cli_contexts, "resolve", lambda: stores)

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


def test_contexts_are_sealed_rotated_and_opened(run: Callable[..., tuple[int, str]], stores: Stores) -> None:
    def status() -> dict[str, Any]:
        return json.loads(run("contexts", "status", "--json")[1])  # type: ignore[no-any-return]

    file = stores.keys_folder / "context.key"
    assert status()["state"] == "open"
    assert status()["own_key_id"] is None
    sealed = json.loads(run("contexts", "seal", "--reason", "a login was lost", "--actor", "ada", "--json")[1])
    try:
        assert sealed["changed"]
        assert file.stat().st_mode & 0o777 == 0o600
        assert not json.loads(run("contexts", "seal", "--json")[1])["changed"]
        assert run("migrate")[0] == 0
        code, shown = run("check")
        assert code == 0, shown
        assert f"sealed, accepted keys: {sealed['key_id']}" in shown
        found = status()
        assert (found["state"], found["own_key_id"], found["own_seal_is_believed"]) == (
            "sealed",
            sealed["key_id"],
            True,
        )
        assert [(change["actor"], change["reason"]) for change in found["changes"]] == [("ada", "a login was lost")]
        secret = file.read_text().strip()
        assert secret not in str(found)

        first = file.read_bytes()
        rotated = json.loads(run("contexts", "rotate", "--json")[1])
        assert file.read_bytes() != first
        old, new = sorted(status()["keys"], key=lambda key: key["accepted_until"] is None)
        assert (old["key_id"], new["key_id"]) == (sealed["key_id"], rotated["key_id"])
        assert old["accepted_until"] is not None
        file.write_bytes(first)  # a machine that has not got the new key yet is believed until then
        assert status()["own_seal_is_believed"]
        assert run("contexts", "status")[0] == 0
        with_environment = dataclasses.replace(stores, context_key=SecretStr(base64.b64encode(bytes(32)).decode()))
        with pytest.raises(InputError, match="sealed with another key"):
            contexts.seal(with_environment, TESTER)
        assert contexts.rotate(with_environment, TESTER, keep_old=timedelta()).changed
        assert not contexts.rotate(with_environment, TESTER).changed
        assert len(status()["keys"]) == 1
        assert run("contexts", "status")[0] == 1  # the key of the file has ended
        assert [finding.name for finding in examine(stores, clock=clock) if not finding.ok] == ["OLTP key of contexts"]
    finally:
        assert run("contexts", "open", "--yes")[0] == 0
    assert not json.loads(run("contexts", "open", "--yes", "--json")[1])["changed"]
    assert [change["action"] for change in status()["changes"]] == ["open", "rotate", "rotate", "seal"]
    code, shown = run("contexts", "sign", "--tenant", str(NOBODY), "--user", str(NOBODY))
    assert code == 0
    assert re.fullmatch(SIGNED, shown)
    assert run("contexts", "sign")[0] == 2


def test_a_rotation_that_was_killed_is_finished_by_the_next(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts.seal(stores, TESTER)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                contexts.rotate(stores, TESTER)
        assert contexts.status(stores).own_seal_is_believed  # still the old key, which is accepted for a while
        assert not contexts.rotate(stores, TESTER).changed
        found = contexts.status(stores)
        assert found.own_seal_is_believed
        assert found.own_key_id == found.keys[0].key_id
        assert [path.name for path in stores.keys_folder.iterdir()] == ["context.key"]
    finally:
        contexts.open_(stores, TESTER)
    with pytest.raises(InputError, match="are open"):
        contexts.rotate(stores, TESTER)
