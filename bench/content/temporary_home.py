"""A home of the platform for one measurement: its embedded servers are stopped and all of it is removed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME_VARIABLE = "PENGUINMAILS_HOME"


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Makes it this process's home, and that of processes it starts."""
    os.environ[HOME_VARIABLE] = home = tempfile.mkdtemp(prefix="penguinmails-bench-")
    from penguinmails.stack import embedded

    try:
        yield Path(home)
    finally:
        embedded.stop(Path(home))
        shutil.rmtree(home, ignore_errors=True)
