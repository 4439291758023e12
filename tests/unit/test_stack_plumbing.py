"""The plumbing without servers: named queries, errors, sizes, settings, and compose.yaml beside the embedded servers."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from penguinmails.stack.console import size
from penguinmails.stack.embedded_postgres import LOGINS
from penguinmails.stack.errors import InputError, PlatformError, SettingsError
from penguinmails.stack.ports import port
from penguinmails.stack.settings import Settings
from penguinmails.stack.sql import Queries

ROOT = Path(__file__).resolve().parents[2]


def test_named_queries_are_read_in_order_without_their_semicolon(tmp_path: Path) -> None:
    path = tmp_path / "some.sql"
    path.write_text("-- A file.\n\n-- name: first\n-- What it is for.\nSELECT 1;\n\n-- name: second\nSELECT 2\n")
    queries = Queries(path)
    assert list(queries) == ["first", "second"]
    assert queries["first"] == "-- What it is for.\nSELECT 1"
    with pytest.raises(InputError, match="first, second"):
        queries["third"]


def test_two_queries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.sql"
    path.write_text("-- name: same\nSELECT 1;\n-- name: same\nSELECT 2;\n")
    with pytest.raises(InputError, match="same name"):
        Queries(path)


def test_every_sql_file_of_named_queries_can_be_read() -> None:
    for path in ROOT.glob("[!.]*/**/*.sql"):
        if "-- name:" in path.read_text():
            assert Queries(path), path


def test_errors_say_thing_problem_and_remedy_and_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(SettingsError("PENGUINMAILS_HOME", "is a file", "Name a folder")))
    assert isinstance(error, PlatformError)
    assert (error.thing, error.problem, error.remedy) == ("PENGUINMAILS_HOME", "is a file", "Name a folder")
    assert error.exit_code == 2


def test_a_port_that_nobody_registered_is_named() -> None:
    with pytest.raises(SettingsError, match="port no_such"):
        port("no_such")


def test_sizes_are_for_people() -> None:
    assert [size(number) for number in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**4)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]


def test_an_unknown_command_and_a_wrong_option_exit_with_2() -> None:
    for arguments in (["nonsense"], ["status", "--nonsense"]):
        done = subprocess.run(
            [sys.executable, "-m", "penguinmails.stack.cli", *arguments], capture_output=True, check=False
        )
        assert done.returncode == 2
        assert b"nonsense" in done.stderr


def test_compose_makes_the_databases_and_logins_of_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    made = (ROOT / "compose.sql").read_text()
    for database, login in LOGINS.items():
        assert f"CREATE DATABASE {database} OWNER {login};" in made
        assert f"CREATE ROLE {login} LOGIN" in made
    assert "CREATE ROLE penguinmails_app LOGIN" in made
    for line in (ROOT / "compose.env").read_text().splitlines():
        if not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))
    settings = Settings.load()
    assert settings.oltp_url is not None
    assert settings.s3_access_key_id is not None
    published = {
        port.rsplit(":", 1)[0]
        for service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
        for port in service["ports"]
    }
    assert published == {"127.0.0.1:55432", "127.0.0.1:56379", "127.0.0.1:58080"}
    assert all(address in (ROOT / "compose.env").read_text() for address in published)
