"""`penguinmails run` as its users meet it: synthetic mail, hostile mail, wrong input."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from platform_support import Platform, as_real_servers

from penguinmails.stack import embedded

pytestmark = [pytest.mark.servers, pytest.mark.slow]

HOSTILE = {
    "plain.eml": b"From: a@one.example\nTo: b@two.example\nSubject: hello\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n\nhello\n",
    "crlf.eml": b"From: a@one.example\r\nTo: b@two.example\r\nSubject: hello\r\n\r\nhello\r\n",
    "no-headers.eml": b"just text, no headers at all\nand more\n",
    "empty.eml": b"",
    "nul.eml": b"From: a@one.example\nTo: b@two.example\nSubject: n\x00ul\n\nbody \x00 body\n",
    "bad-charset.eml": b'From: a@one.example\nTo: b@two.example\nContent-Type: text/plain; charset="none-such"\n\n\xff\xfe\n',
    "eight-bit.eml": b"From: \xe9\xe8 <a@one.example>\nTo: b@two.example\nSubject: caf\xe9\n\n\xe9\n",
    "truncated.eml": b'From: a@one.example\nTo: b@two.example\nContent-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Ty',
    "bad-date.eml": b"From: a@one.example\nTo: b@two.example\nDate: yesterday, perhaps\n\nhello\n",
    "far-future.eml": b"From: a@one.example\nTo: b@two.example\nDate: Mon, 5 Jan 2099 10:00:00 +0000\n\nhello\n",
    "no-addresses.eml": b"From: undisclosed\nTo: recipients:;\nSubject: x\n\nhello\n",
    "binary.eml": bytes(range(256)) * 40,
    "mixed-ends.eml": b"From: a@one.example\r\nTo: b@two.example\nSubject: x\r\n\nline\rline\r\nline\n",
    "huge-line.eml": b"From: a@one.example\nTo: b@two.example\nSubject: " + b"x" * 100_000 + b"\n\nhello\n",
}


@pytest.fixture
def platform(home: Path) -> Platform:
    return Platform(home)


def test_hostile_mail_is_accounted_for_and_comes_back_bit_for_bit(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    attachment = b"From: a@one.example\nTo: b@two.example\nSubject: big\n\n" + b"QUJD" * 19 * 1000
    for name, raw in (HOSTILE | {"large.eml": attachment * 17}).items():
        (folder / name).write_bytes(raw)
    outcome = platform.run("--mail", folder)
    assert outcome["succeeded"], outcome["checks_failed"]
    intake = outcome["reports"]["intake"]
    assert intake["read"] == len(HOSTILE) + 1
    assert intake["loaded"] + intake["set_aside"] + intake["duplicates"] == intake["read"]

    state = platform.state()
    assert {*state.messages, *state.set_aside} == {*HOSTILE, "large.eml"}
    for name, (message_id, digest) in state.messages.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert state.bodies[message_id] == digest
    message_id, digest = state.messages["crlf.eml"]
    platform.call("content", "get", "--message", message_id, "-o", tmp_path / "returned.eml")
    assert hashlib.sha256((tmp_path / "returned.eml").read_bytes()).hexdigest() == digest

    again = platform.run("--mail", folder)["reports"]
    assert (again["intake"]["loaded"], again["hand_over"]["messages"], again["roll_up"]["rows_extracted"]) == (0, 0, 0)
    assert platform.state() == state
    assert platform.ask("doctor")["healthy"]


def test_the_same_path_runs_on_real_servers_by_url(home: Path, second_servers: embedded.Embedded) -> None:
    elsewhere = Platform(home, as_real_servers(second_servers))
    outcome = elsewhere.run("--messages", "60")
    assert outcome["succeeded"], outcome["checks_failed"]
    assert outcome["reports"]["hand_over"]["removed_from_oltp"] == outcome["reports"]["intake"]["loaded"]
    assert embedded.find(home) is None, "no embedded server was needed"
    assert elsewhere.ask("doctor")["healthy"]


def test_wrong_input_is_named_and_starts_nothing(platform: Platform, tmp_path: Path) -> None:
    problem = platform.call("run", "--mail", tmp_path / "none such", exit_code=2)
    assert "none such" in problem
    assert "does not exist" in problem
    assert embedded.find(platform.home) is None
