"""The long chaos run: `python bench/queue_tier/chaos.py --seconds 1800`; prints its seed and one JSON document.

Servers of its own are started in a temporary home and stopped at the end. With `--bug` a deliberate mistake is put into the
protocol first: the run must then end red, or the harness proves nothing. Exit code 1 when anything was violated.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bug", choices=["no_fence", "push_before_commit", "read_then_reap"], default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penguinmails-chaos-") as folder:
        os.environ["PENGUINMAILS_HOME"] = folder
        return run(Path(folder), arguments.seconds, arguments.seed, arguments.bug)


def run(home: Path, seconds: float, seed: int | None, bug: str | None) -> int:
    """Runs the chaos and prints its report; returns the exit code."""
    from queue_chaos import Chaos

    from penguinmails.queue.schema import migrate
    from penguinmails.stack import embedded
    from penguinmails.stack.console import print_json
    from penguinmails.stack.stores import resolve

    seed = SystemRandom().randrange(2**31) if seed is None else seed
    print(f"seed {seed}", file=sys.stderr)
    try:
        stores = resolve()
        migrate(stores)
        server = embedded.ensure(home)
        report = Chaos(stores, server, home, seed=seed, bug=bug).run(seconds)
    finally:
        embedded.stop(home)
    print_json(asdict(report) | {"violations": report.violations})
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
