"""Exactness: whatever comes in whatever order, the facts equal a recomputation and PostgreSQL's own answer.

Streams hold late, duplicate, repeated and impossible events, messages that arrive after their events or move to another
campaign, erased leads, leads that change, and transactions that stay open across roll-ups and commit in any order; days are
read again, the landing zone is compacted and files are built upon files in between.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from olap_support import (  # noqa: F401 - fixtures
    START,
    World,
    assert_equal_to_recomputation,
    assert_marts_are_exact,
    empty_landing,
    insert,
    named,
    oltp_template_fixture,
    postgresql_answers,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap.build import open_build
from penguinmails.olap.compacting import compact
from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.extraction import Days
from penguinmails.olap.facts import FACTS
from penguinmails.olap.measures import MEASURES
from penguinmails.olap.publishing import publish
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.stores import Stores

EXAMPLES = int(os.environ.get("PENGUINMAILS_TEST_EXAMPLES", "5"))
MESSAGES = 5
OPEN_TRANSACTIONS = 2


@dataclass(frozen=True)
class Step:
    """One step: `what` with its particulars; `transaction` 0 commits at once, the others stay open."""

    what: str
    message: int = 0
    event_type: str = ""
    hours: float = 0
    ingested_hours: float = 0
    transaction: int = 0
    campaign: str | None = None
    lead: str | None = None
    kind: str = "email"
    again: bool = False


message_numbers = st.integers(0, MESSAGES - 1)
transactions = st.integers(0, OPEN_TRANSACTIONS)
event_types = st.sampled_from([measure.event_type for measure in MEASURES] + ["sent", "opened", "opened"])
steps = st.one_of(
    st.builds(
        Step,
        what=st.just("message"),
        message=message_numbers,
        transaction=transactions,
        campaign=st.sampled_from(["c1", "c2", None]),
        lead=st.sampled_from(["l1", "l2", None]),
        kind=st.sampled_from(["email", "email", "warmup", "inbound"]),
    ),
    st.builds(
        Step,
        what=st.just("event"),
        message=message_numbers,
        event_type=event_types,
        hours=st.sampled_from([0, 0.05, 1, 11, 13, 30, 61]),
        ingested_hours=st.sampled_from([0, 12, 60, 100]),
        transaction=transactions,
        again=st.booleans(),
    ),
    st.builds(Step, what=st.just("move"), message=message_numbers, campaign=st.sampled_from(["c1", "c2", None])),
    st.builds(Step, what=st.just("commit"), transaction=st.integers(1, OPEN_TRANSACTIONS)),
    st.just(Step("roll_up")),
    st.just(Step("roll_up")),
    st.builds(Step, what=st.just("erase"), message=message_numbers, lead=st.sampled_from(["l1", "l2"])),
    st.builds(Step, what=st.just("read_day_again"), hours=st.sampled_from([0, 24, 48])),
    st.just(Step("compact")),
    st.just(Step("publish")),
    st.builds(Step, what=st.just("status"), message=message_numbers, lead=st.sampled_from(["l1", "l2"])),
)
streams = st.lists(steps, min_size=8, max_size=30)


class Stream:
    """Plays steps into the operational database."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made: set[int] = set()
        self.erased: set[uuid.UUID] = set()
        self.open: list[Any] = [None] + [world.connect() for _ in range(OPEN_TRANSACTIONS)]

    def play(self, step: Step) -> None:
        tenant = "t1" if step.message % 2 else "t2"
        connection = self.open[step.transaction]
        lead = step.lead and named(f"{tenant}.{step.lead}")
        if step.what == "message" and step.message not in self.made and lead not in self.erased:
            self.made.add(step.message)
            self.world.message(
                str(step.message),
                tenant=tenant,
                campaign=step.campaign,
                lead=step.lead,
                direction="inbound" if step.kind == "inbound" else "outbound",
                message_type="warmup" if step.kind == "warmup" else "email",
                connection=connection,
            )
        elif step.what == "event":
            for _ in range(2 if step.again else 1):
                self.world.event(
                    str(step.message),
                    step.event_type,
                    step.hours,
                    tenant=tenant,
                    ingested_hours=step.ingested_hours,
                    connection=connection,
                )
        elif step.what == "move":
            self._move(tenant, step)
        elif step.what == "erase" and lead is not None:
            self._erase(lead)
        elif step.what == "status":
            with self.world.connect() as own:
                own.execute("UPDATE leads SET status = 'bounced' WHERE id = %s", [lead])
        elif step.what == "commit":
            connection.commit()

    def _move(self, tenant: str, step: Step) -> None:
        with self.world.connect() as own:
            own.execute(
                "UPDATE email_messages SET campaign_id = %s, campaign_sequence_step_id = %s, xid = pg_current_xact_id()"
                " WHERE id = %s",
                [
                    step.campaign and named(f"{tenant}.{step.campaign}"),
                    step.campaign and named(f"{tenant}.{step.campaign}.s2"),
                    named(f"{tenant}.{step.message}"),
                ],
            )

    def _erase(self, lead: uuid.UUID) -> None:
        with contextlib.suppress(psycopg.errors.LockNotAvailable), self.world.connect() as own:
            own.execute("SET lock_timeout = '10ms'")  # an open transaction refers to the lead: not now
            own.execute("DELETE FROM leads WHERE id = %s", [lead])
            self.erased.add(lead)

    def commit_all(self) -> None:
        for connection in self.open[1:]:
            connection.commit()

    def close(self) -> None:
        for connection in self.open[1:]:
            connection.close()


def assert_facts_are_exact(stores: Stores, world: World) -> None:
    answers = postgresql_answers(world, *(fact.name for fact in FACTS))
    with open_build(stores.marts_folder) as build:
        for fact, answer in zip(FACTS, answers, strict=True):
            found = build.connection.execute(f"SELECT {', '.join(fact.column_names)} FROM {fact.name}").fetchall()
            assert set(found) == answer, fact.name
            assert len(set(found)) == len(found)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams)
def test_any_sequence_of_runs_is_exact(stores: Stores, world: World, stream: list[Step]) -> None:
    with world.connect() as connection:
        connection.execute("DELETE FROM email_events")
        connection.execute("DELETE FROM email_messages")
        connection.execute("DELETE FROM leads")
        for tenant in world.tenants:
            for lead in world.leads:
                address = f"{lead}@{tenant}.test"
                insert(connection, "leads", tenant_id=named(tenant), id=named(f"{tenant}.{lead}"), email=address)
    shutil.rmtree(stores.marts_folder, ignore_errors=True)
    empty_landing(stores)
    player = Stream(world)
    try:
        for step in stream:
            if step.what == "roll_up":
                roll_up(stores)
                assert_facts_are_exact(stores, world)
            elif step.what == "read_day_again":
                day = (START + timedelta(hours=step.hours)).date()
                roll_up(stores, days=Days(day, day + timedelta(days=1)))
                assert_facts_are_exact(stores, world)
            elif step.what == "compact":
                with contextlib.suppress(NothingPublished):
                    compact(stores)
            elif step.what == "publish":
                roll_up(stores)
                publish(stores, whole=False)
            else:
                player.play(step)
        player.commit_all()
    finally:
        player.close()
    roll_up(stores)
    assert_facts_are_exact(stores, world)
    publish(stores, whole=False)
    assert_marts_are_exact(stores, world)
    publish(stores)
    assert_marts_are_exact(stores, world)
    assert_equal_to_recomputation(stores)
