"""The page of limits in docs/, made from the declarations: `python -m penguinmails.queue.limits_page > docs/queue_limits.md`.

Belongs here: the page. Does not belong here: any limit (thresholds.py).
"""

from __future__ import annotations

import sys

from penguinmails.queue.thresholds import THRESHOLDS


def page() -> str:
    """Returns the page as Markdown."""
    lines = [
        "# Limits the queue is watched by",
        "",
        "Made from `queue/thresholds.py`; do not edit. The same limits are used by `penguinmails queue status`, the doctor and",
        "Dagster's checks.",
        "",
        "| name | severity | at most | why | what to do |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {limit.name} | {limit.severity} | {limit.limit:,g} {limit.unit} | {limit.reason} | {limit.remedy} |"
        for limit in THRESHOLDS
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
