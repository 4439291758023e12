"""A test session leaves no server behind, not even one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from caretaker import left_below

TEST = "tests/integration/test_stack_stores.py"
CHECKOUT = Path(__file__).parents[2]


PATIENCE_SECONDS = 120.0


def test_a_killed_session_leaves_no_server(tmp_path: Path) -> None:
    session = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", TEST],
        cwd=CHECKOUT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while session.poll() is None and not list(left_below(tmp_path)):
            time.sleep(0.05)
        assert session.poll() is None
        session.kill()
    finally:
        session.wait()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while left := [*left_below(tmp_path), *tmp_path.glob("penguinmails-test-*")]:
        assert time.monotonic() < give_up_at, left
        time.sleep(0.05)
