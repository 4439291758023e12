"""The long chaos run: `python bench/queue_tier/chaos.py --seconds 1800`; prints its seed and one JSON document.

Servers of its own are started in a temporary home and stopped at the end. With `--bug` a deliberate mistake is put into the
protocol first: the run must then end red, or the harness proves nothing. Exit code 1 when anything was violated.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))


def main() -> int:
    from queue_mutations import MUTATIONS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bug", choices=sorted(MUTATIONS), default=None)
    parser.add_argument("--most-at-once", type=int, default=10, help="jobs enqueued between two faults, at most")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penguinmails-chaos-") as folder:
        os.environ["PENGUINMAILS_HOME"] = folder
        return run(Path(folder), arguments)


def run(home: Path, arguments: argparse.Namespace) -> int:
    """Runs the chaos and prints its report; returns the exit code."""
    from queue_chaos import Chaos
    from queue_journal import ChaosReport
    from servers import machine

    from penguinmails.queue.schema import migrate
    from penguinmails.stack import embedded
    from penguinmails.stack.console import print_json
    from penguinmails.stack.stores import resolve

    def tell(report: ChaosReport) -> None:
        print(f"{report.acknowledged:,} jobs, {sum(report.faults.values()):,} turns", file=sys.stderr, flush=True)

    seed = SystemRandom().randrange(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    try:
        stores = resolve()
        migrate(stores)
        chaos = Chaos(
            stores,
            embedded.ensure(home),
            home,
            seed=seed,
            bug=arguments.bug,
            owns_postgres=True,
            most_at_once=arguments.most_at_once,
        )
        report = chaos.run(arguments.seconds, progress=tell)
    finally:
        embedded.stop(home)
    print_json({"machine": machine(), "seconds": arguments.seconds} | report.as_document())
    return 1 if report.violation_counts else 0


if __name__ == "__main__":
    sys.exit(main())
