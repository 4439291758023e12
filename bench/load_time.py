"""How long the code location takes to load beyond importing Dagster. Run: .venv/bin/python bench/load_time.py

Prints one JSON document; aim: under 3 seconds (median of fresh interpreters).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

RUNS = 7
PROGRAM = """
import time
started = time.perf_counter(); import dagster; dagster_seconds = time.perf_counter() - started
started = time.perf_counter(); import penguinmails.pipelines.definitions; print(dagster_seconds, time.perf_counter() - started)
"""


def main() -> None:
    pairs = [
        tuple(map(float, subprocess.check_output([sys.executable, "-c", PROGRAM], text=True).split()))
        for _ in range(RUNS)
    ]
    print(
        json.dumps(
            {
                "runs": RUNS,
                "import_dagster_seconds": round(statistics.median(pair[0] for pair in pairs), 3),
                "load_code_location_seconds": round(statistics.median(pair[1] for pair in pairs), 3),
                "aim_seconds": 3.0,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
