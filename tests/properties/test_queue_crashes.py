"""A crash between any two calls, Redis flushed, messages doubled, leases run out: in any order, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
import queue_mutations
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg import sql
from queue_crashes import CrashPoints, Processes
from queue_support import FIXTURES, QUEUE, Note, handlers_of, rows

from penguinmails.queue.fast_lane import list_key
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.producer import NewJob, enqueue_many
from penguinmails.queue.queues import Band
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
SETTINGS = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
FINAL = {"completed", "failed", "cancelled"}
STATES = "SELECT id, status, gen, attempt_count, max_attempts, crash_count FROM jobs"


class World:
    """The stores, what handlers have done, and the processes; cleared for every run."""

    def __init__(self, stores: Stores, points: CrashPoints) -> None:
        self.stores = stores
        self.points = points
        self.effects: Counter[UUID] = Counter()
        self.runs: Counter[tuple[UUID, int]] = Counter()
        self.handlers = handlers_of(self._handle)
        self.processes = Processes(stores, self.handlers)

    def clear(self) -> None:
        self.processes.close()
        for table in ("jobs", "workers", "queue_fast_lane"):  # faster than TRUNCATE for a handful of rows
            self.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        client = self.stores.open_redis()
        client.flushall()
        client.close()
        self.effects.clear()
        self.runs.clear()
        self.processes = Processes(self.stores, self.handlers)

    def execute(self, statement: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
        return rows(self.stores, statement, parameters)

    def enqueue(self, notes: list[str], priority: int) -> None:
        with psycopg.connect(self.stores.queue_url.get_secret_value(), autocommit=True) as own:
            enqueue_many(own, [NewJob(QUEUE, {"note": note}, priority=priority) for note in notes])

    def double_messages(self) -> None:
        client = self.stores.open_redis()
        for band in Band:
            messages = client.lrange(list_key(QUEUE, band), 0, -1)
            if messages:
                client.rpush(list_key(QUEUE, band), *messages)
        client.close()

    def let_leases_run_out(self) -> None:
        self.execute("UPDATE jobs SET lease_expires = now() - interval '1 second' WHERE status = 'migrated_to_redis'")

    def crash_postgresql_after_a_relays_turn(self) -> None:
        """The relay does not wait for the disk: its claims are undone, and what it has put into Redis stays."""
        kept = "id, status, gen, lease_expires, run_at, due, updated"
        before = self.execute(f"SELECT {kept} FROM jobs")
        self.processes.step_within("relay")
        self.execute("ALTER TABLE jobs DISABLE TRIGGER jobs_guard")
        for row in before:
            self.execute(
                "UPDATE jobs SET (status, gen, lease_expires, run_at, due, updated) = (%s, %s, %s, %s, %s, %s) "
                "WHERE id = %s AND gen > %s",
                [*row[1:], row[0], row[2]],
            )
        self.execute("ALTER TABLE jobs ENABLE TRIGGER jobs_guard")

    def recover(self, *, rounds: int = 200) -> None:
        """Faults are over: dead processes are noticed, retries come due, everything is run to its end."""
        for name in ("0", "1"):
            self.processes.kill(name)
        for _ in range(rounds):
            if not self.execute("SELECT id FROM jobs WHERE status NOT IN ('completed', 'failed', 'cancelled') LIMIT 1"):
                return
            self.let_leases_run_out()
            self.execute("UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")
            for name in ("reaper", "relay", "0", "0"):
                self.processes.step_within(name)

    def _handle(self, payload: Note, context: JobContext) -> None:
        self.points.pass_one()
        self.runs[context.fence] += 1
        if payload.note == "fails always" or (payload.note == "fails once" and context.job.attempt == 1):
            raise RuntimeError
        self.effects[context.job.id] += 1


@pytest.fixture
def world(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(stores, CrashPoints(monkeypatch))
    yield made
    made.processes.close()


def _check_end(world: World) -> None:
    assert set(world.runs.values()) <= {1}, "one generation was run twice"
    states = {row[0]: row[1] for row in world.execute(STATES)}
    assert set(states.values()) <= FINAL
    for job_id, status in states.items():
        assert (world.effects[job_id] > 0) == (status == "completed")
    successes = world.execute("SELECT job_id, count(*) FROM job_logs WHERE status = 'success' GROUP BY job_id")
    assert {row[0]: row[1] for row in successes} == {
        job_id: 1 for job_id, status in states.items() if status == "completed"
    }


@pytest.mark.slow
def test_no_single_crash_loses_or_doubles_a_job(world: World) -> None:
    """Every crash point of a job's whole way, one after the other."""
    point = 0
    crashed = True
    while crashed:
        point += 1
        world.clear()
        for name in ("relay", "0", "reaper"):  # connects, which is no part of a job's way
            world.processes.step_within(name)
        world.enqueue(["succeeds", "fails once"], 100)
        crashed = False
        with world.points.at(point):
            for name in ("relay", "0", "0", "reaper"):
                if not world.processes.step_within(name):
                    crashed = True
                    break
        world.recover()
        _check_end(world)
        assert {row[1] for row in world.execute(STATES)} == {"completed"}
        # A job runs again only when its process died between the effect and its record.
        assert max(world.effects.values()) <= 1 + crashed
    assert 10 < point < 100


def test_claims_that_a_crash_of_postgresql_undoes_are_made_again(world: World) -> None:
    world.enqueue(["succeeds", "fails once"], 100)
    world.crash_postgresql_after_a_relays_turn()
    for name in ("0", "relay", "0", "1"):
        world.processes.step_within(name)
    world.recover()
    _check_end(world)
    assert set(world.effects.values()) == {1}


def _machine(world: World) -> type[RuleBasedStateMachine]:
    class Faults(RuleBasedStateMachine):
        """Turns of the processes and faults in any order."""

        def __init__(self) -> None:
            super().__init__()
            self.last: dict[UUID, tuple[Any, ...]] = {}

        @initialize()
        def begin(self) -> None:
            world.clear()

        @rule(
            notes=st.lists(st.sampled_from(["succeeds", "fails once", "fails always"]), min_size=1, max_size=6),
            priority=st.sampled_from([10, 100, 200]),
        )
        def enqueue(self, notes: list[str], priority: int) -> None:
            world.enqueue(notes, priority)

        @rule(name=st.sampled_from(["relay", "reaper", "0", "1"]), point=st.none() | st.integers(1, 14))
        def turn(self, name: str, point: int | None) -> None:
            world.processes.step(name, world.points, point)

        @rule()
        def round_without_faults(self) -> None:
            for name in ("relay", "0", "1", "0", "1"):
                world.processes.step(name, world.points, None)

        @rule()
        def redis_is_flushed(self) -> None:
            client = world.stores.open_redis()
            client.flushall()
            client.close()

        @rule()
        def postgresql_crashes_after_a_relays_turn(self) -> None:
            world.crash_postgresql_after_a_relays_turn()

        @rule()
        def messages_are_doubled(self) -> None:
            world.double_messages()

        @rule()
        def hand_offs_run_out(self) -> None:
            world.let_leases_run_out()

        @rule()
        def a_living_worker_is_thought_dead(self) -> None:
            world.execute("UPDATE workers SET lease_expires = now() - interval '1 second' WHERE NOT dead")

        @rule()
        def retries_come_due(self) -> None:
            world.execute("UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")

        @invariant()
        def every_change_is_allowed(self) -> None:
            now = {row[0]: row for row in world.execute(STATES)}
            for job_id, before in self.last.items():
                after = now[job_id]
                assert after[2] >= before[2], "gen decreased"
                assert before[1] not in FINAL or after == before, "a final state was left"
            for job_id, (_, status, _, attempts, most, _) in now.items():
                assert 0 <= attempts <= most
                assert status != "completed" or world.effects[job_id] > 0
            assert set(world.runs.values()) <= {1}, "one generation was run twice"
            self.last = now

        def teardown(self) -> None:
            world.recover()
            _check_end(world)

    return Faults


def test_faults_in_any_order_lose_nothing(world: World) -> None:
    run_state_machine_as_test(_machine(world), settings=SETTINGS)


def _doubled_messages(world: World) -> None:
    """Two workers are given the same message."""
    world.enqueue(["succeeds"], 100)
    for name in ("relay", "double", "0", "1", "0", "1"):
        world.double_messages() if name == "double" else world.processes.step_within(name)


def _waking_too_late(world: World) -> None:
    """A worker whose lease ran out ends its job just when the reaper is at work."""
    world.enqueue(["succeeds"], 100)
    for name in ("relay", "0"):
        world.processes.step_within(name)
    world.execute("UPDATE workers SET lease_expires = now() - interval '1 second'")
    for name in ("reaper", "0"):
        world.processes.step_within(name)


def _waiting_at_redis(world: World) -> None:
    """A worker looks into Redis at every moment, also while the relay is at work; nothing goes wrong."""
    world.enqueue(["succeeds"], 100)
    for name in ("relay", "0", "0"):
        world.processes.step_within(name)


def _check_nothing_was_lost_on_the_way(world: World) -> None:
    _check_end(world)
    assert world.execute("SELECT id FROM jobs WHERE gen > 1") == [], "a message was dropped though nothing had happened"


SCENARIOS = {
    "no_fence": (_doubled_messages, _check_end),
    "read_then_reap": (_waking_too_late, _check_end),
    "push_before_commit": (_waiting_at_redis, _check_nothing_was_lost_on_the_way),
}


@pytest.mark.parametrize("bug", SCENARIOS)
def test_what_a_deliberate_bug_breaks_holds_without_it(world: World, bug: str) -> None:
    scenario, check = SCENARIOS[bug]
    scenario(world)
    world.recover()
    check(world)


@pytest.mark.parametrize("bug", queue_mutations.MUTATIONS)
def test_a_deliberate_bug_is_noticed(world: World, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, check = SCENARIOS[bug]
    monkeypatch.setattr(queue_mutations, "in_the_gap", lambda: world.processes.step_within("0"))
    queue_mutations.MUTATIONS[bug]()
    try:
        scenario(world)
        world.recover(rounds=20)
        with pytest.raises(AssertionError):
            check(world)
    finally:
        queue_mutations.undo()
