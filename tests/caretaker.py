"""Stops a test session's servers even when the session itself was killed with SIGKILL.

Run as a process of its own by conftest.py: `python caretaker.py FOLDER`. Standard input is a pipe whose other end only the
session holds; it closes when the session ends, in whatever way. Then every home below FOLDER is stopped and FOLDER goes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from penguinmails.stack import embedded


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    for credentials in list(folder.rglob("credentials.json")):
        embedded.stop(credentials.parent)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
