"""The times and sizes the protocol runs on.

Belongs here: one frozen object with its defaults and what bounds them. Does not belong here: limits that people are
alerted by (thresholds.py), per-queue limits (queues.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from penguinmails.stack.errors import SettingsError


@dataclass(frozen=True)
class Configuration:
    """Defaults recover a killed worker's jobs within `lease_seconds + sweep_seconds`.

    Args:
        lease_seconds: how long a process counts as alive after its last renewal.
        hand_off_seconds: how long a job may be in Redis before somebody looks whether it is still there.
        sweep_seconds: pause between two sweeps of the reaper.
        poll_seconds: pause of the relay and idle workers between two looks, while there is work that no word announces.
        idle_poll_seconds: the same otherwise: how late what no word announces may be noticed.
        housekeeping_seconds: pause between two looks for scheduled jobs and retries whose time has come, at least.
        high_water: jobs a band of a queue may have in Redis; the rest waits in PostgreSQL.
        batch: jobs moved by one statement.
        run_slack_seconds: how long a started job may wait in its worker beyond the queue's time limit.
        stop_seconds: how long a stopping worker waits for running handlers.
        cancel_grace_seconds: how long the handler of a cancelled job may take to put things in order before it is ended.
        crash_limit: a job that was in hand this often when a process died becomes a dead letter.
    """

    lease_seconds: float = 10.0
    hand_off_seconds: float = 10.0
    sweep_seconds: float = 1.0
    poll_seconds: float = 0.005
    idle_poll_seconds: float = 0.2
    housekeeping_seconds: float = 0.05
    high_water: int = 2_000
    batch: int = 1_000
    run_slack_seconds: float = 60.0
    stop_seconds: float = 30.0
    cancel_grace_seconds: float = 5.0
    crash_limit: int = 5

    def __post_init__(self) -> None:
        if min(self.lease_seconds, self.hand_off_seconds, self.sweep_seconds, self.poll_seconds) <= 0:
            raise SettingsError("queue configuration", "holds a time that is not positive", "Use the defaults.")
        if not 1 <= self.batch <= 5_000 or self.high_water < 1:
            raise SettingsError("queue configuration", "holds a size out of range", "Use the defaults.")

    @property
    def renew_seconds(self) -> float:
        """Pause between two renewals of a lease: four may fail before it ends."""
        return self.lease_seconds / 5

    @property
    def trusted_seconds(self) -> float:
        """How long a process trusts its own lease, counted from when it sent the renewal: safely less than it lasts."""
        return self.lease_seconds * 0.8


DEFAULTS = Configuration()
