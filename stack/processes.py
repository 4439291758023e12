"""Finding and ending the processes this platform started.

Belongs here: remembering a process so surely that another one with the same number is never taken for it. Does not
belong here: what the process does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from penguinmails.stack.errors import ServerError

SERVERS = frozenset({"postgres", "valkey-server", "rclone"})
"""Names of the programs this platform starts as embedded servers."""
_SAME_START_SECONDS = 1.0
_POLL_SECONDS = 0.01
_LOG_TAIL_BYTES = 2_000


@dataclass(frozen=True)
class RunningProcess:
    """A process by number and start, because numbers are used again."""

    pid: int
    started_at: float
    """Seconds since 1970, as the kernel says it."""

    @classmethod
    def of(cls, pid: int) -> RunningProcess:
        return cls(pid, psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started_at) < _SAME_START_SECONDS
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    def terminate(self, seconds: float = 20.0) -> None:
        """Asks the process to end and waits; kills it when it does not.

        Its starter may live and never ask how it ended: it then stays in the process table, and counts as ended.
        """
        for order in (psutil.Process.terminate, psutil.Process.kill):
            if not self.is_alive():
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                order(psutil.Process(self.pid))
            deadline = time.monotonic() + seconds
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)


def remember(process: RunningProcess, path: Path) -> None:
    """Writes `process` to `path`, whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(process)))
    unfinished.replace(path)


def recall(path: Path) -> RunningProcess | None:
    """Returns the living process that `path` remembers, if any."""
    try:
        process = RunningProcess(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    return process if process.is_alive() else None


def end_strays(path: Path) -> None:
    """Ends processes of ours that serve `path` but that nothing remembers.

    Their starter was killed between starting and remembering them. A second server on the same files would damage them.
    """
    for process in psutil.process_iter(["cmdline", "uids"]):
        arguments = process.info["cmdline"] or []
        if any(str(path) in argument for argument in arguments) and process.pid != os.getpid():
            server = arguments[0].rsplit("/", 1)[-1].split()[0]
            if server in SERVERS:
                RunningProcess.of(process.pid).terminate()


def start_detached(
    command: list[str],
    *,
    log: Path,
    environment: dict[str, str] | None = None,
    user: int | None = None,
    folder: Path | None = None,
) -> RunningProcess:
    """Starts `command` so that it outlives this process, its terminal and a `kill -9` of either.

    Args:
        log: file its output is appended to; mode 0600.
        environment: its whole environment (default: a copy of ours).
        user: number of the user and group it runs as.
        folder: its working directory.
    """
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
            cwd=folder,
        )
    try:
        return RunningProcess.of(process.pid)
    except psutil.NoSuchProcess:
        raise start_failure(command[0], log) from None
    finally:
        process.returncode = 0  # it is no child of ours to wait for: keeps Popen from warning about it


def start_failure(name: str, log: Path) -> ServerError:
    """Returns the error for a server that did not start, with the end of its log."""
    tail = ""
    if log.exists():
        tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
    return ServerError(
        f"embedded server {Path(name).name}",
        f"did not start; the end of {log}:\n{tail}\n",
        "Run 'penguinmails doctor'; 'make stop' and another start often help.",
    )
