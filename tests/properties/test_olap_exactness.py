"""Exactness: whatever comes in whatever order, the facts equal a recomputation and PostgreSQL's own answer.

Streams hold late, duplicate, repeated, unknown and impossible events, messages that arrive after their events or move to
another campaign, leads that change, are deleted or whose person is erased, subscriptions, payments, servers and audit events
that come and go, and transactions that stay open across roll-ups and commit in any order; days are read again, the landing zone
is compacted and files are built upon files in between. Every column of every mart is compared.
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
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from olap_support import (  # noqa: F401 - fixtures
    ERASE,
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
ADDRESSES = 2
EMPTIED = (
    "email_events",
    "email_messages",
    "leads",
    "admin_audit_events",
    "payments",
    "subscriptions",
    "domain_ip_assignments",
    "smtp_ip_addresses",
    "vps_instances",
    "plans",
)
"""Tables that every stream begins with anew, in the order in which their rows can go."""


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
event_types = st.sampled_from([measure.event_type for measure in MEASURES] + ["sent", "opened", "opened", "teleported"])
hours_of_day = st.sampled_from([0, 13, 30, 61, 24 * 31])
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
    st.builds(
        Step, what=st.just("forget"), message=message_numbers, lead=st.sampled_from(["l1", "l2"]), hours=hours_of_day
    ),
    st.builds(
        Step,
        what=st.just("subscription"),
        message=message_numbers,
        kind=st.sampled_from(["active", "trialing", "canceled"]),
        hours=hours_of_day,
        again=st.booleans(),
    ),
    st.builds(
        Step,
        what=st.just("assignment"),
        message=message_numbers,
        kind=st.sampled_from(["active", "warming", "expired"]),
        transaction=st.integers(1, ADDRESSES),
    ),
    st.builds(Step, what=st.just("audit"), message=message_numbers, transaction=transactions, again=st.booleans()),
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
        elif step.what == "forget":
            with contextlib.suppress(psycopg.errors.LockNotAvailable), self.world.connect() as own:
                own.execute("SET lock_timeout = '10ms'")
                own.execute(ERASE, {"now": START + timedelta(hours=step.hours), "lead_id": lead})
        elif step.what == "subscription":
            self._subscribe(tenant, step)
        elif step.what == "assignment":
            self._assign(tenant, step)
        elif step.what == "audit":
            self._audit(tenant, step)
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

    def _subscribe(self, tenant: str, step: Step) -> None:
        """The tenant's one subscription, perhaps with a payment for the time before it."""
        begins, of = START + timedelta(hours=step.hours - 30), {"tenant_id": named(tenant)}
        subscription = named(f"{tenant}.subscription")
        with self.world.connect() as own:
            own.execute("DELETE FROM payments WHERE tenant_id = %s", [named(tenant)])
            own.execute("DELETE FROM subscriptions WHERE tenant_id = %s", [named(tenant)])
            period = {"current_period_start": begins, "current_period_end": begins + timedelta(days=2)}
            insert(own, "subscriptions", **of, id=subscription, plan_id=named("plan"), status=step.kind, **period)
            if step.again:
                paid = {"billing_period_start": begins - timedelta(days=2), "billing_period_end": begins}
                insert(own, "payments", **of, subscription_id=subscription, amount=20, **paid)

    def _assign(self, tenant: str, step: Step) -> None:
        with self.world.connect() as own:
            own.execute("DELETE FROM domain_ip_assignments WHERE tenant_id = %s", [named(tenant)])
            insert(
                own,
                "domain_ip_assignments",
                tenant_id=named(tenant),
                domain_id=named(f"{tenant}.domain"),
                smtp_ip_address_id=named(f"address {step.transaction}"),
                status=step.kind,
            )

    def _audit(self, tenant: str, step: Step) -> None:
        values = {"tenant_id": named(tenant), "action": "role_changed", "category": "role", "resource_type": "users"}
        told = {"old_values": '{"role": "member"}', "ip_address": "192.0.2.9"} if step.again else {"notes": "said so"}
        if (connection := self.open[step.transaction]) is not None:
            insert(connection, "admin_audit_events", **values, **told)
            return
        with self.world.connect() as own:
            insert(own, "admin_audit_events", **values, **told)

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


def begin_anew(world: World) -> None:
    """Empties what streams write to, and makes what they refer to."""
    world.execute(
        "SET ROLE pm_owner; ALTER TABLE email_events DROP CONSTRAINT IF EXISTS email_events_event_type_is_known"
    )
    with world.connect() as connection:
        for table in EMPTIED:
            connection.execute(f"DELETE FROM {table}".encode())
        for tenant in world.tenants:
            for lead in world.leads:
                address = f"{lead}@{tenant}.test"
                insert(connection, "leads", tenant_id=named(tenant), id=named(f"{tenant}.{lead}"), email=address)
        insert(connection, "plans", id=named("plan"), name="plan", slug="plan", price_monthly=2900)
        insert(connection, "vps_instances", id=named("server"), status="active", approximate_cost=20)
        for number in range(1, ADDRESSES + 1):
            address = {"ip_address": f"192.0.2.{number}", "approximate_cost": "4.99"}
            of = {"vps_instance_id": named("server")}
            insert(connection, "smtp_ip_addresses", id=named(f"address {number}"), **of, **address)


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams)
def test_any_sequence_of_runs_is_exact(stores: Stores, world: World, stream: list[Step]) -> None:
    begin_anew(world)
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
