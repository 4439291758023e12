"""What `penguinmails doctor` asks the queue.

Belongs here: the questions. Does not belong here: limits (thresholds.py).
"""

from __future__ import annotations

import psycopg

from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.fast_lane import FastLane
from penguinmails.queue.probe import probe
from penguinmails.queue.thresholds import evaluate
from penguinmails.stack.errors import ServerError
from penguinmails.stack.findings import Finding
from penguinmails.stack.stores import Stores


def examine(stores: Stores) -> list[Finding]:
    """Returns the state of the queue's stores and every limit it is beyond."""
    findings = [_redis(stores)]
    try:
        snapshot = probe(stores)
    except psycopg.errors.UndefinedTable:
        return [*findings, Finding("queue tables", False, "are not there yet", "Run 'penguinmails queue migrate'.")]
    except ServerError as error:
        return [*findings, Finding("queue database", False, error.problem, error.remedy)]
    exceeded = evaluate(snapshot)
    detail = f"{snapshot.waiting} waiting, {snapshot.running} running, {snapshot.dead_letters} dead letters"
    findings.append(Finding("queue", True, detail))
    findings += [Finding(each.threshold.name, False, each.summary, each.threshold.remedy) for each in exceeded]
    return findings


def _redis(stores: Stores) -> Finding:
    fast_lane = FastLane.open(stores)
    try:
        state = fast_lane.state([], [])
    except FastLaneUnavailable as error:
        return Finding("queue Redis", False, error.problem, error.remedy)
    finally:
        fast_lane.close()
    detail = f"version {state.version}, {state.policy}, append-only file {'on' if state.keeps_on_disk else 'off'}"
    return Finding(
        "queue Redis",
        state.is_safe,
        detail,
        "" if state.is_safe else "Set maxmemory-policy noeviction and appendonly yes.",
    )
