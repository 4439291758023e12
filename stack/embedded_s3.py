"""The embedded S3 server: `rclone serve s3` over a local folder, on the loopback interface.

Belongs here: starting and stopping it, its port. Does not belong here: what it gets wrong (object_store.py keeps to what
it was seen to do right).
"""

from __future__ import annotations

import json
import os
import socket
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from penguinmails.stack.processes import RunningProcess, end_strays, recall, remember, start_detached, start_failure

_START_SECONDS = 30.0
_PORTS_TRIED = 3
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class EmbeddedS3:
    """The server of one home folder."""

    home: Path
    credentials: dict[str, str]
    bucket: str

    def __repr__(self) -> str:
        return f"EmbeddedS3({self.home})"

    @property
    def data(self) -> Path:
        return self.home / "s3"

    @property
    def log(self) -> Path:
        return self.home / "log" / "s3.log"

    def endpoint_url(self) -> str:
        return f"http://{_HOST}:{self._port()}"

    def process(self) -> RunningProcess | None:
        return recall(self.home / "s3.pid.json")

    def is_ready(self) -> bool:
        return self.process() is not None and self._port_file.exists() and _listens(self._port())

    def ensure(self) -> None:
        """Starts the server if it does not run. Only under the home's lock."""
        if self.is_ready():
            return
        running = self.process()
        if running is not None:  # it runs but does not listen
            running.terminate()
        end_strays(self.data)
        (self.data / self.bucket).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        deadline = time.monotonic() + _START_SECONDS
        for _ in range(_PORTS_TRIED):
            port = self._choose_port()
            self._port_file.write_text(json.dumps(port))
            process = start_detached(
                [
                    *(str(_binary()), "serve", "s3", str(self.data), "--addr", f"{_HOST}:{port}"),
                    *("--etag-hash", "none"),  # the default reads every object at the first listing
                    *("--dir-perms", "700", "--file-perms", "600", "--config", "/dev/null"),
                ],
                log=self.log,
                environment=self._environment(),
            )
            remember(process, self.home / "s3.pid.json")
            while process.is_alive() and time.monotonic() < deadline:
                if _listens(port) and _is_served_by(process, port):
                    return
                time.sleep(0.02)
            process.terminate()
            # Where it ended at once, somebody may have taken the port between our choice and its start: choose another.
            self._port_file.unlink(missing_ok=True)
        raise start_failure("rclone serve s3", self.log)

    def stop(self) -> None:
        process = self.process()
        if process is not None:
            process.terminate()

    @property
    def _port_file(self) -> Path:
        return self.home / "s3.port.json"

    def _port(self) -> int:
        return int(json.loads(self._port_file.read_text()))

    def _choose_port(self) -> int:
        """Returns the port used before when it is still free, so that addresses stay the same over a restart."""
        wanted = self._port() if self._port_file.exists() else 0
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_HOST, port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise start_failure("rclone serve s3", self.log)

    def _environment(self) -> dict[str, str]:
        """The key pair goes through the environment: arguments are there for everybody to read."""
        # rclone reads this variable as CSV: without the quotes it would be two values.
        pair = f'"{self.credentials["s3_access_key_id"]},{self.credentials["s3_secret_access_key"]}"'
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        return inherited | {"RCLONE_AUTH_KEY": pair, "HOME": str(self.home)}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((_HOST, port)) == 0


def _is_served_by(process: RunningProcess, port: int) -> bool:
    """Whether it is that process that listens: another one may have taken the port first."""
    try:
        links = psutil.Process(process.pid).net_connections("inet")
    except psutil.NoSuchProcess:
        return False
    return any(link.status == psutil.CONN_LISTEN and link.laddr.port == port for link in links)


def _binary() -> Path:
    return Path(sysconfig.get_path("scripts")) / "rclone"
