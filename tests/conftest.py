"""Servers and databases of the tests.

One set of embedded servers for the whole session, in a folder of its own, stopped at the end however the session ends
(caretaker.py, a process of its own, sees to it); one template database a tier, cloned for each test. The environment is
cleared of settings first, so that no test can reach a person's real servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from penguinmails.stack import embedded
from penguinmails.stack.object_store import Bucket, BucketAddress

sys.path.insert(0, str(Path(__file__).parent))  # tests/<tier>_support.py: what the tests of one tier share

HOME_VARIABLE = "PENGUINMAILS_HOME"
_OTHER_POSTGRESQL = "PENGUINMAILS_POSTGRESQL_BIN"
"""The one setting that reaches the tests: the same tests on another version of PostgreSQL."""
_SESSION_VARIABLE = "PENGUINMAILS_TEST_SESSION"
_caretaker: subprocess.Popen[bytes] | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Gives the session a folder of its own; parallel workers are handed the one of their controller."""
    global _caretaker
    # Started in the background of a script a session ignores Ctrl-C, and whatever it starts does so too; tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if (name.startswith("PENGUINMAILS_") and name not in {_SESSION_VARIABLE, _OTHER_POSTGRESQL}) or name.startswith(
            ("AWS_", "DAGSTER_")
        ):
            del os.environ[name]
    if not hasattr(config, "workerinput"):
        os.environ[_SESSION_VARIABLE] = tempfile.mkdtemp(prefix="penguinmails-test-")
        _caretaker = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("caretaker.py"), os.environ[_SESSION_VARIABLE]],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the session, which then ends in good order
        )
    os.environ[HOME_VARIABLE] = str(_session() / "session")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _caretaker is not None:
        assert _caretaker.stdin is not None
        _caretaker.stdin.close()
        _caretaker.wait()
        del os.environ[_SESSION_VARIABLE]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that at the end no worker is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _session() -> Path:
    return Path(os.environ[_SESSION_VARIABLE])


@pytest.fixture(scope="session")
def servers() -> embedded.Embedded:
    """The embedded servers of this session; PostgreSQL does not wait for the disk: its data need not outlive the machine."""
    made = embedded.ensure(Path(os.environ[HOME_VARIABLE]))
    with psycopg.connect(made.postgres.superuser_dsn(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    return made


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of this test's own, its servers stopped afterwards.

    Not below pytest's temporary folder: every other session of pytest takes from that the right to pass through, which
    PostgreSQL needs when we are root.
    """
    with new_home() as folder:
        yield folder


@pytest.fixture
def second_servers() -> Iterator[embedded.Embedded]:
    """A second set of servers, to be pointed at by URL as if they were real ones elsewhere."""
    with new_home() as folder:
        yield embedded.ensure(folder)


@contextmanager
def new_home(*, copy_of: Path | None = None) -> Iterator[Path]:
    """Makes a folder for a home, empty or a copy of one whose servers are down; stops its servers and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="home-", dir=_session()))
    try:
        if copy_of is not None:
            subprocess.run(
                ["cp", "-a", copy_of, folder / "home"], check=True
            )  # with its owners: PostgreSQL is not root
        yield folder / "home"
    finally:
        embedded.stop(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder of the session that `make` made: for the first worker that asks, while the others wait."""
    folder = _session() / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_session()))
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def template_database(servers: embedded.Embedded) -> Callable[[str, Callable[[SecretStr], object]], str]:
    """Returns a function that makes a tier's template database once and returns its name."""

    def make(tier: str, migrate: Callable[[SecretStr], object]) -> str:
        name = f"template_{tier}"
        with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
            admin.execute("SELECT pg_advisory_lock(1)")  # parallel workers: one makes it, the others wait
            if admin.execute("SELECT FROM pg_database WHERE datname = %s AND datistemplate", [name]).fetchone() is None:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
                login = servers_login(tier)
                admin.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(login))
                )
                admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
                migrate(servers.postgres_url(name, login=login))
                admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(sql.Identifier(name)))
        return name

    return make


@pytest.fixture
def clone_database(servers: embedded.Embedded) -> Iterator[Callable[[str, str], SecretStr]]:
    """Returns a function that clones a template for this test and returns its URL; clones are dropped afterwards."""
    clones: list[str] = []

    def clone(tier: str, template: str) -> SecretStr:
        name = f"test_{tier}_{uuid.uuid4().hex[:12]}"
        login = servers_login(tier)
        with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(template), sql.Identifier(login)
                )
            )
            if tier == "oltp":
                admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO penguinmails_app").format(sql.Identifier(name)))
        clones.append(name)
        return servers.postgres_url(name, login=login)

    yield clone
    with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
        for name in clones:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def bucket(servers: embedded.Embedded) -> Iterator[Bucket]:
    """An empty bucket of this test's own on the real S3 server."""
    shared = servers.bucket()
    name = f"test-{uuid.uuid4().hex[:12]}"
    own = Bucket(
        BucketAddress(name, shared.endpoint_url, shared.region, shared.access_key_id, shared.secret_access_key)
    )
    own.client.create_bucket(Bucket=name)
    yield own
    own.delete([entry.key for entry in own.list("")])
    own.client.close()


def servers_login(tier: str) -> str:
    """Returns the login that owns the databases of `tier`."""
    from penguinmails.stack.embedded_postgres import LOGINS

    return LOGINS[tier]
