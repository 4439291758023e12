"""`penguinmails content …` and doctor, as a person calls them; the OLTP tier's port is the test's own hand-over area."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from content_support import TENANT_A, HandOverArea, bodies, mail, make_template, message_id, stores_of

from penguinmails.content_store import cli, cli_support, doctor
from penguinmails.content_store.errors import ContentGone, ContentUnknown
from penguinmails.content_store.storage_layout import PREFIX, storage_key
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    monkeypatch.setattr(cli_support, "resolve", lambda: stores)
    monkeypatch.setattr(cli_support, "port", lambda name: {"message_bodies": lambda _: area}[name])
    yield area
    area.close()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.content, arguments)


def answer(*arguments: str) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_way_of_a_message(stores: Stores, area: HandOverArea, bucket: Bucket, tmp_path: Path) -> None:
    area.add(*bodies(40))
    assert answer("hand-over")["messages"] == 40
    key = storage_key(TENANT_A, message_id(3))
    assert call("get", key).stdout_bytes == mail(3)
    assert call("get", "--message", str(message_id(3)), "--part", "text").stdout_bytes.startswith(b"Hi,")
    assert call("get", key, "--part", "headers").stdout_bytes.startswith(b"From: Sales")
    saved = tmp_path / "one.eml"
    assert answer("get", key, "-o", str(saved))["size_bytes"] == len(mail(3))
    assert saved.read_bytes() == mail(3)
    assert answer("get", "--all", "--to", str(tmp_path / "all"))["messages"] == 40
    assert answer("stats")["messages"] == 40
    assert answer("check")["ok"]
    assert answer("verify")["ok"]
    assert answer("sweep") == {"packs_given_up": 0, "packs_deleted": 0}
    for command in ("stats", "check", "verify", "hand-over", "sweep", "probe"):
        assert call(command).exit_code == 0
    bucket.delete([entry.key for entry in bucket.list(PREFIX)])
    assert call("check").exit_code == 4
    assert call("verify").exit_code == 4


def test_a_wrong_name_is_an_input_error(area: HandOverArea) -> None:
    assert isinstance(call("get", "nonsense").exception, ContentUnknown)
    for arguments in (["get"], ["get", "a", "--message", str(message_id(1))], ["get", "--all"]):
        assert getattr(call(*arguments).exception, "exit_code", None) == 2


def test_doctor_finds_a_lost_key(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(1))
    call("hand-over")
    good = {finding.name: finding for finding in doctor.examine(stores)}
    assert all(finding.ok for finding in good.values())
    assert f"files in {stores.keys_folder}" in good["content keys"].detail
    for path in stores.keys_folder.iterdir():
        path.unlink()
    bad = [finding for finding in doctor.examine(stores) if not finding.ok]
    assert [finding.name for finding in bad] == ["content keys"]
    assert bad[0].remedy


def test_nothing_is_destroyed_without_being_told_to(stores: Stores, area: HandOverArea, tmp_path: Path) -> None:
    area.add(*bodies(8))
    call("hand-over")
    keys = [storage_key(TENANT_A, message_id(number)) for number in range(8)]
    listed = tmp_path / "named"
    listed.write_text("\n".join(keys[:4]))
    for arguments in (["delete", *keys], ["erase", "--from", str(listed)], ["retention", "apply"], ["compact"]):
        assert call(*arguments).exit_code == 0
    assert answer("stats")["messages"] == 8
    hold = answer("hold", "place", "--tenant", str(TENANT_A), "--matter", "9/2026", keys[0])
    erased = answer("erase", "--from", str(listed), "--person", "lead1@example.net", "--execute")
    assert [(item["messages"], item["blocked"], item["effective"]) for item in erased] == [(4, 1, False)]
    assert [item["effective"] for item in answer("hold", "release", hold["hold_id"])] == [True]
    assert isinstance(call("get", keys[0]).exception, ContentGone)
    assert answer("delete", keys[5], "--execute")["changed"] == [keys[5]]
    assert answer("undelete", keys[5])["changed"] == [keys[5]]
    assert call("get", keys[5]).stdout_bytes == mail(5)
    assert call("retention", "policy", "--tenant", str(TENANT_A), "--class", "outbound", "--days", "1").exit_code == 0
    assert answer("retention", "plan")["messages"] == 4
    assert answer("retention", "apply", "--execute")["messages"] == 4
    assert answer("rotate-key", "--tenant", str(TENANT_A))["generation"] == 2
    assert answer("compact", "--erased-now", "--execute")["packs_rewritten"] == 1
    assert answer("certificates")["broken_at"] is None
    for arguments in (
        ["hold", "list"],
        ["retention", "plan"],
        ["certificates"],
        ["erase", "--execute"],
        ["migrate"],
        ["repair-index"],
    ):
        assert call(*arguments).exit_code == 0, arguments
