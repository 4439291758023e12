"""The relay: claims ready jobs in PostgreSQL and hands them over to Redis. Any number may run at once.

Commit first, then push: a worker can never see a message whose claim it cannot find. What is lost between the two is
found by the reconciler when the hand-off's lease has run out.

Belongs here: that order, room and batches. Does not belong here: looking for what got lost (reconciler.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from penguinmails.queue.configuration import DEFAULTS, Configuration
from penguinmails.queue.connections import Connection, open_protocol_connection
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.fast_lane import FastLane, HandOff, Ticket
from penguinmails.queue.handlers import PROTOCOL
from penguinmails.queue.leases import Lease
from penguinmails.queue.outages import Outage
from penguinmails.queue.queues import Band
from penguinmails.queue.wake_ups import NewJobs
from penguinmails.stack.errors import ServerError
from penguinmails.stack.stores import Stores

_RECONNECT_SECONDS = 0.5
_PROMOTION_BATCH = 5_000


@dataclass
class RelayCounts:
    """What this relay has done since it was made."""

    handed_off: int = 0
    put_back: int = 0
    promoted: int = 0


class Relay:
    """One relay. `step` does one turn; `run` turns until told to stop.

    Args:
        on_hand_off: is told what Redis has just taken.
        on_operation: is told how many seconds an operation took ("send").
    """

    def __init__(
        self,
        stores: Stores,
        *,
        configuration: Configuration = DEFAULTS,
        on_hand_off: Callable[[Sequence[HandOff]], None] | None = None,
        on_operation: Callable[[str, float], None] = lambda _, __: None,
    ) -> None:
        self.counts = RelayCounts()
        self._stores = stores
        self._configuration = configuration
        self._on_hand_off = on_hand_off
        self._on_operation = on_operation
        self._fast_lane = FastLane.open(stores)
        self._connection: Connection | None = None
        self._housekeeping_at = 0.0
        self._new_jobs = NewJobs(configuration)
        self._is_work_left = self._is_full = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Hands jobs over until `stop` says so.

        Raises:
            FastLaneUnsafe: this Redis evicts or forgets; nothing was handed over.
        """
        self._wait_for_safe_redis(stop)
        lease: Lease | None = None
        outage = Outage("relay", "a server")
        try:
            while not stop():
                try:
                    lease = lease or Lease(self._stores.queue_url, "relay", self._configuration, begins_anew=True)
                    moved = self.step()
                    outage.ended()
                    self._new_jobs.after_turn(
                        self._ready_connection(), moved=moved, is_work_left=self._is_work_left, is_full=self._is_full
                    )
                except (psycopg.OperationalError, ServerError) as error:
                    outage.began(error)
                    self._disconnect()
                    time.sleep(_RECONNECT_SECONDS)
        finally:
            if lease is not None:
                lease.close()
            self.close()

    def step(self) -> int:
        """One turn: returns how many jobs were handed over.

        Raises:
            FastLaneUnavailable: Redis is away; what had been claimed was put back.
            ServerError, psycopg.OperationalError: PostgreSQL is away; try again later.
        """
        connection = self._ready_connection()
        if time.monotonic() >= self._housekeeping_at:
            self._keep_house(connection)
        hand_offs = self._claim(connection)
        if hand_offs:
            self._push(connection, hand_offs)
        return len(hand_offs)

    def close(self) -> None:
        self._disconnect()
        self._fast_lane.close()

    def _claim(self, connection: Connection) -> list[HandOff]:
        """Claims what there is room for; committed when this returns."""
        queue_names = [row[0] for row in connection.execute(PROTOCOL["queues_with_ready_jobs"])]
        self._is_work_left = bool(queue_names)
        lanes = self._lanes_with_room(queue_names) if queue_names else []
        self._is_full = self._is_work_left and not lanes
        if not lanes:
            return []
        return claim(connection, lanes, hand_off_seconds=self._configuration.hand_off_seconds)

    def _keep_house(self, connection: Connection) -> None:
        """What need not be done at every turn: scheduled jobs whose time has come."""
        promoted = connection.execute(PROTOCOL["promote_due"], {"batch": _PROMOTION_BATCH}).rowcount
        self.counts.promoted += promoted
        if promoted < _PROMOTION_BATCH:
            self._housekeeping_at = time.monotonic() + self._configuration.housekeeping_seconds

    def _lanes_with_room(self, queue_names: Sequence[str]) -> list[tuple[str, Band, int]]:
        """A lane that is more than half full is not topped up in small bites: many statements for few jobs."""
        batch, high_water = self._configuration.batch, self._configuration.high_water
        return [
            (name, band, min(batch, high_water - depth))
            for (name, band), depth in self._fast_lane.depths(queue_names).items()
            if depth <= high_water / 2 or high_water - depth >= batch / 2
        ]

    def _push(self, connection: Connection, hand_offs: list[HandOff]) -> None:
        began = time.monotonic()
        try:
            self._fast_lane.push(hand_offs)
        except FastLaneUnavailable:
            self.counts.put_back += put_back(connection, [job.ticket for job in hand_offs])
            raise
        self._on_operation("send", time.monotonic() - began)
        self.counts.handed_off += len(hand_offs)
        if self._on_hand_off is not None:
            self._on_hand_off(hand_offs)

    def _wait_for_safe_redis(self, stop: Callable[[], bool]) -> None:
        while not stop():
            try:
                return self._fast_lane.require_safe()
            except FastLaneUnavailable:
                time.sleep(_RECONNECT_SECONDS)
        return None

    def _ready_connection(self) -> Connection:
        # A claim that a crash of PostgreSQL undoes is made again: its message then fits the new one, or is stale. Whatever was
        # started on it is safe, because a start waits for the disk, and with it for all that was written before.
        self._connection = self._connection or open_protocol_connection(self._stores.queue_url, waits_for_disk=False)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def claim(
    connection: Connection, lanes: Sequence[tuple[str, Band, int]], *, hand_off_seconds: float, most: int | None = None
) -> list[HandOff]:
    """Claims ready jobs of lanes, each with the room it has, in the order in which they should run.

    Args:
        most: jobs over all lanes; None is as many as there is room for.
    """
    rows = connection.execute(
        PROTOCOL["claim"],
        {
            "queue_names": [name for name, _, _ in lanes],
            "first_priorities": [band.priorities[0] for _, band, _ in lanes],
            "last_priorities": [band.priorities[1] for _, band, _ in lanes],
            "rooms": [room for _, _, room in lanes],
            "hand_off_seconds": hand_off_seconds,
            "most": most,
        },
    ).fetchall()
    rows.sort(key=lambda row: int(row[4]))
    return [HandOff(Ticket(row[0], row[1]), row[2], row[3], row[5], row[6], row[7]) for row in rows]


def put_back(connection: Connection, tickets: Sequence[Ticket]) -> int:
    """Makes hand-offs ready again; returns how many still were hand-offs. Their messages are stale from now on."""
    return connection.execute(
        PROTOCOL["put_back"], {"ids": [each.id for each in tickets], "gens": [each.gen for each in tickets]}
    ).rowcount
