"""The embedded servers: started once, found again, safe against kill -9, reachable only by those who hold the password."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from process_support import command_line

from penguinmails.stack import embedded
from penguinmails.stack.errors import ServerError
from penguinmails.stack.object_store import Bucket

START = (
    "import sys; from pathlib import Path; from penguinmails.stack import embedded; embedded.ensure(Path(sys.argv[1]))"
)
STOP = (
    "import sys; from pathlib import Path; from penguinmails.stack import embedded; "
    "print(*embedded.stop(Path(sys.argv[1])))"
)


def pids(servers: embedded.Embedded) -> dict[str, int]:
    return {name: process.pid for name, process in servers.running().items() if process is not None}


def test_they_start_once_and_are_found_again(home: Path) -> None:
    first = pids(embedded.ensure(home))
    subprocess.run([sys.executable, "-c", START, home], check=True)
    assert pids(embedded.ensure(home)) == first
    assert set(first) == {"postgres", "valkey", "s3"}
    # Another process stops them while their starter lives and never asks how they ended.
    stopped = subprocess.run([sys.executable, "-c", STOP, home], check=True, capture_output=True, text=True, timeout=30)
    assert stopped.stdout.split() == ["postgres", "valkey", "s3"]
    assert embedded.stop(home) == []


def test_many_starters_at_once_make_one_set_of_servers(home: Path) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", START, home]) for _ in range(4)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0, 0]
    found = {process.pid: process for process in psutil.process_iter() if str(home) in command_line(process)}
    # A backend shows its server's command line for a moment after it was forked.
    names = [process.name() for process in found.values() if process.ppid() not in found]
    assert sorted(names) == ["postgres", "rclone", "valkey-server"]


def test_committed_data_survives_kill_9_of_every_server_and_of_their_starter(home: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", START + "; import time; time.sleep(60)", home])
    wait_for(lambda: (servers := embedded.find(home)) is not None and len(pids(servers)) == 3)
    servers = embedded.ensure(home)
    starter.kill()
    starter.wait()
    assert len(pids(servers)) == 3, "the servers outlive whoever started them"

    with psycopg.connect(servers.postgres_url("oltp").get_secret_value()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    client = redis.Redis.from_url(servers.redis_url().get_secret_value())
    client.set("kept", "7")
    client.close()
    Bucket(servers.bucket()).put("kept", b"7")

    before = pids(servers)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not pids(servers))
    servers = embedded.ensure(home)
    assert not set(before.values()) & set(pids(servers).values())
    with psycopg.connect(servers.postgres_url("oltp").get_secret_value()) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    client = redis.Redis.from_url(servers.redis_url().get_secret_value())
    assert client.get("kept") == b"7"
    client.close()
    assert Bucket(servers.bucket()).get("kept") == b"7"


def test_a_kill_at_any_moment_of_the_first_start_is_mended_by_the_next(home: Path) -> None:
    for seconds in (0.25, 0.5, 0.75, 1.0, 1.5):
        starter = subprocess.Popen([sys.executable, "-c", START, home])
        time.sleep(seconds)
        starter.kill()
        starter.wait()
    servers = embedded.ensure(home)
    assert len(pids(servers)) == 3
    for database in ("oltp", "content", "queue", "dagster"):
        psycopg.connect(servers.postgres_url(database).get_secret_value()).close()


def test_nobody_gets_in_without_the_password_and_nothing_listens_outside(home: Path) -> None:
    servers = embedded.ensure(home)
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    folder = servers.postgres.socket_folder
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres", passfile=os.devnull)
    with pytest.raises(
        psycopg.OperationalError, match="permission denied"
    ):  # one tier's login, another tier's database
        psycopg.connect(servers.postgres_url("content", login="penguinmails_queue").get_secret_value())
    bare = redis.Redis(unix_socket_path=str(servers.valkey.socket))
    with pytest.raises(redis.AuthenticationError):
        bare.ping()
    bare.close()
    for pid in pids(servers).values():
        process = psutil.Process(pid)
        assert all(link.laddr.ip == "127.0.0.1" for link in process.net_connections("inet") if link.status == "LISTEN")
        shown = " ".join(process.cmdline())
        assert not [secret for secret in servers.credentials.values() if secret in shown]
    assert "secret" not in repr(servers).lower()
    assert not [secret for secret in servers.credentials.values() if secret in repr(servers)]


def test_the_data_can_be_moved(home: Path, tmp_path: Path) -> None:
    servers = embedded.ensure(home)
    Bucket(servers.bucket()).put("kept", b"7")
    embedded.stop(home)
    moved = home.rename(tmp_path / "a folder with spaces")
    try:
        servers = embedded.ensure(moved)
        assert Bucket(servers.bucket()).get("kept") == b"7"
        psycopg.connect(servers.postgres_url("oltp").get_secret_value()).close()
    finally:
        embedded.stop(moved)


def test_a_home_too_deep_for_sockets_works(tmp_path: Path) -> None:
    deep = tmp_path / ("deep-" * 12) / ("deeper-" * 12)
    try:
        servers = embedded.ensure(deep, s3=False)
        psycopg.connect(servers.postgres_url("oltp").get_secret_value()).close()
        client = redis.Redis.from_url(servers.redis_url().get_secret_value())
        assert client.ping()
        client.close()
    finally:
        embedded.stop(deep)


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match="PENGUINMAILS_HOME"):
        embedded.ensure(tmp_path / "file" / "home")


def wait_for(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
