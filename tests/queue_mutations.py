"""Deliberate bugs: each must turn a test of this tier red, or that test proves nothing.

A mutation changes the protocol in the calling process, as a careless edit would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from penguinmails.queue import reaper, relay, settlement, worker
from penguinmails.queue.connections import Connection
from penguinmails.queue.fast_lane import HandOff

_SELECT_LOST = """
    SELECT jobs.id
    FROM jobs
    LEFT JOIN workers ON workers.id = jobs.worker_id
    WHERE jobs.status = 'running' AND (workers.id IS NULL OR workers.dead OR workers.lease_expires < now())
"""
_RECLAIM_LOST = """
    UPDATE jobs SET status = 'queued', gen = gen + 1, worker_id = NULL, due = true WHERE id = ANY(%s)
"""


def no_fence() -> None:
    """Start and finish look at the id alone."""
    everything = "jobs.id = message.id"
    start = worker.PROTOCOL["start"].replace("jobs.gen = message.gen", "true")
    start = start.replace("jobs.status || '' = 'migrated_to_redis'", "jobs.status <> 'completed'")
    finish = settlement.PROTOCOL["finish"].replace("jobs.gen = message.gen", "true")
    finish = finish.replace("jobs.worker_id::text = %(worker_id)s::text", "true")
    finish = finish.replace("jobs.status || '' = 'running'", "jobs.status <> 'completed'")
    assert everything in start
    assert everything in finish
    _set(worker, "PROTOCOL", {**worker.PROTOCOL, "start": start})
    _set(settlement, "PROTOCOL", {**settlement.PROTOCOL, "finish": finish})


def push_before_commit() -> None:
    """The relay pushes while its claim is still uncommitted."""
    claim, push = relay.Relay._claim, relay.Relay._push

    def claim_and_push(self: relay.Relay, connection: Connection) -> list[HandOff]:
        with connection.transaction():
            hand_offs = claim(self, connection)
            if hand_offs:
                push(self, connection, hand_offs)
                _in_the_gap()
        return hand_offs

    _set(relay.Relay, "_claim", claim_and_push)
    _set(relay.Relay, "_push", lambda *_: None)


def read_then_reap() -> None:
    """The reaper reads what seems lost and takes it back later, without looking again."""

    def reclaim(_: reaper.Reaper, connection: Connection, sweep: reaper.Sweep) -> None:
        lost = [row[0] for row in connection.execute(_SELECT_LOST)]
        if lost:
            _in_the_gap()
            with connection.transaction():
                connection.execute("SET LOCAL penguinmails.queue_replay = 'on'")  # or the table's own guard refuses
                sweep.jobs_reclaimed += connection.execute(_RECLAIM_LOST, [lost]).rowcount

    _set(reaper.Reaper, "_reclaim", reclaim)
    _set(reaper, "LEASES", {**reaper.LEASES, "mark_dead": "SELECT WHERE false"})


MUTATIONS: dict[str, Callable[[], None]] = {
    "no_fence": no_fence,
    "push_before_commit": push_before_commit,
    "read_then_reap": read_then_reap,
}
in_the_gap: Callable[[], object] = lambda: time.sleep(0.2)  # noqa: E731
"""What happens in the gap that a bug opens; a test without real processes puts its own in."""
_undo: list[tuple[Any, str, Any]] = []


def _in_the_gap() -> None:
    in_the_gap()


def _set(owner: Any, name: str, value: Any) -> None:
    _undo.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def undo() -> None:
    """Takes every mutation of this process back."""
    while _undo:
        setattr(*_undo.pop())
