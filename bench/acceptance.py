"""The whole path on real mail, every message compared bit for bit with its source. Run: make, then
.venv/bin/python bench/acceptance.py PATH.tar.gz

Works in an empty home of its own, through the commands a person would use, and reads the archive with Python's tarfile, not
with the platform's own reader. Prints one JSON document; exit code 1 when a message is missing or differs.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "penguinmails.stack.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="tar(.gz) of RFC 822 files, one a member")
    archive: Path = parser.parse_args().archive
    with tempfile.TemporaryDirectory(prefix="penguinmails-acceptance-") as folder:
        environment = os.environ | {"PENGUINMAILS_HOME": str(Path(folder) / "home")}
        try:
            report = measured(archive, Path(folder) / "read-back", environment)
        finally:
            subprocess.run([*COMMAND, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)
    print(json.dumps(report, indent=1))
    sys.exit(0 if report["missing_or_different"] == report["unexpected"] == 0 else 1)


def measured(archive: Path, read_back: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Runs the platform twice and reads everything back into the folder `read_back`."""
    seconds, reports = [], []
    for _ in range(2):
        started = time.perf_counter()
        output = subprocess.check_output([*COMMAND, "run", "--mail", archive, "--json"], env=environment)
        seconds.append(round(time.perf_counter() - started, 1))
        reports.append(json.loads(output))
    subprocess.run(
        [*COMMAND, "content", "get", "--all", "--to", read_back, "--json"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wanted = collections.Counter(hashlib.sha256(member).hexdigest() for member in members(archive))
    found = collections.Counter(
        hashlib.sha256(file.read_bytes()).hexdigest() for file in read_back.rglob("*") if file.is_file()
    )
    return {
        "messages": wanted.total(),
        "identical": (wanted & found).total(),
        "missing_or_different": (wanted - found).total(),
        "unexpected": (found - wanted).total(),
        "first_run_seconds": seconds[0],
        "second_run_seconds": seconds[1],
        "checks_passed": [report["checks_passed"] for report in reports],
        "checks_failed": [report["checks_failed"] for report in reports],
    }


def members(archive: Path) -> list[bytes]:
    """Returns the bytes of every file in the archive."""
    with tarfile.open(archive) as opened:
        return [reader.read() for member in opened if member.isfile() and (reader := opened.extractfile(member))]


if __name__ == "__main__":
    main()
