"""Stops a test session's servers even when the session itself was killed with SIGKILL.

Run as a process of its own by conftest.py: `python caretaker.py FOLDER`. Standard input is a pipe whose other end only the
session holds; it closes when the session ends, in whatever way. Then every home below FOLDER is stopped and FOLDER goes. A
session killed while it started a server leaves what it started: that goes on, and is waited for or ended too.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from penguinmails.stack import embedded

PATIENCE_SECONDS = 60.0


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        for credentials in list(folder.rglob("credentials.json")):
            embedded.stop(credentials.parent)
        for process in left_below(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > give_up_at:
            return
        time.sleep(0.1)


def left_below(folder: Path) -> Iterator[psutil.Process]:
    """Yields the programs (initdb, a server just started) whose command line names the folder, this one excepted."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = process.cmdline()
            if command and "python" not in Path(command[0]).name and any(str(folder) in part for part in command):
                yield process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
