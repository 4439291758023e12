"""The queue by itself: `python bench/queue_tier/measure.py`; prints one JSON document.

Throughput of the full lifecycle with every write (in the worker's own process, and with handlers in child processes), the CPU
each part uses a job, the hand-off at 100 jobs a second, and the recovery of a killed worker's job. About two minutes.
"""

from __future__ import annotations

import argparse
import json
import sys


def main() -> None:
    from own import drain_rates, hand_off, recovery
    from servers import machine, own_servers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["throughput", "hand_off", "recovery"], action="append")
    arguments = parser.parse_args()
    wanted = arguments.only or ["throughput", "hand_off", "recovery"]
    report: dict[str, object] = {"machine": machine(), "workers": arguments.workers, "jobs": arguments.jobs}
    with own_servers() as (stores, home):
        if "throughput" in wanted:
            for name, in_children in (("in_process", False), ("child_processes", True)):
                report[name] = [
                    drain_rates(stores, arguments.jobs, workers=arguments.workers, in_children=in_children)
                    for _ in range(arguments.repeats)
                ]
        if "hand_off" in wanted:
            report["hand_off_at_100_jobs_per_second"] = hand_off(stores, home, jobs_per_second=100, seconds=20)
        if "recovery" in wanted:
            report["killed_worker"] = recovery(stores, home, rounds=arguments.repeats)
    json.dump(report, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
