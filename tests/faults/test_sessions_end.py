"""A test session leaves no server behind, not even one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

TEST = "tests/integration/test_stack_stores.py"
CHECKOUT = Path(__file__).parents[2]


def servers_below(folder: Path) -> list[psutil.Process]:
    """Returns the server processes whose command line names `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if command and "python" not in Path(command[0]).name and any(str(folder) in part for part in command):
            found.append(process)
    return found


def test_a_killed_session_leaves_no_server(tmp_path: Path) -> None:
    session = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", TEST],
        cwd=CHECKOUT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while session.poll() is None and not servers_below(tmp_path):
            time.sleep(0.05)
        assert session.poll() is None
        session.kill()
    finally:
        session.wait()
    while servers_below(tmp_path) or list(tmp_path.glob("penguinmails-test-*")):  # the suite's own limit ends it
        time.sleep(0.05)
