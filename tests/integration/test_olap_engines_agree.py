"""Every mart made by the distributed engine equals the same mart made by DuckDB, from one landing zone, row for row.

Sail stands for Spark: it speaks Spark Connect and needs no JVM. What real Spark answers is compared by
`make spark`, where Java is.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta

import pytest
from olap_support import (  # noqa: F401 - fixtures
    ERASE,
    START,
    World,
    assert_marts_are_exact,
    insert,
    named,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)
from pysail.spark import SparkConnectServer

from penguinmails.olap.distributed import open_session, publish_from_engine
from penguinmails.olap.engines import Session
from penguinmails.olap.errors import EngineFailed, ReconciliationFailed
from penguinmails.olap.extraction import Days
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import newest_snapshot
from penguinmails.olap.roll_up import roll_up
from penguinmails.olap.verifying import compare_published
from penguinmails.stack.stores import Stores


@pytest.fixture(scope="module", name="engine_address")
def engine_address_fixture() -> Iterator[str]:
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    yield f"sc://{host}:{port}"
    server.stop()


@pytest.fixture(name="session")
def session_fixture(engine_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    # A worker of xdist is a program without a file: Spark's client takes that for its own doctests and ends the process.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Spark's client, about pandas, which is not used here
        with open_session(engine_address) as session:
            yield session


def fill(stores: Stores, world: World) -> None:
    """Four batches with everything that a landing zone can hold: changes, late events, quarantine, deletions, whole days."""
    with world.connect() as connection:
        for number in range(12):
            name, tenant = str(number), ("t1", "t1", "t2")[number % 3]
            world.message(
                name,
                tenant=tenant,
                campaign=(None if number == 4 else f"c{number % 2 + 1}"),
                step=f"s{number % 2 + 1}",
                mailbox=f"m{number % 2 + 1}",
                lead=f"l{number % 3 + 1}",
                message_type="warmup" if number == 5 else "email",
                connection=connection,
            )
            for hours, event_type in enumerate(("sent", "delivered", "opened", "clicked", "replied")[: number % 5 + 1]):
                world.event(name, event_type, 20 * number + hours, tenant=tenant, connection=connection)
        of = {"tenant_id": named("t1")}
        insert(connection, "plans", id=named("plan"), name="plan", slug="plan", price_monthly=5000)
        insert(
            connection,
            "subscriptions",
            **of,
            id=named("subscription"),
            plan_id=named("plan"),
            status="active",
            current_period_start=START,
            current_period_end=START + timedelta(days=30),
        )
    roll_up(stores)
    world.event("0", "bounced", 50)
    world.event("0", "opened", -3)
    world.event("nobody", "opened", 3)
    world.event("1", "clicked", 900, ingested_hours=21)
    roll_up(stores)
    with world.connect() as connection:
        connection.execute("DELETE FROM leads WHERE id = %s", [named("t1.l1")])
        connection.execute("DELETE FROM campaigns WHERE id = %s", [named("t1.c2")])
        connection.execute(ERASE, {"now": START + timedelta(days=2), "lead_id": named("t1.l2")})
        connection.execute(
            "DELETE FROM email_events WHERE message_id = %s AND event_type = 'delivered'", [named("t1.3")]
        )
    day = START.date() + timedelta(days=3)
    roll_up(stores, days=Days(day - timedelta(days=1), day + timedelta(days=1)))


@pytest.mark.slow
def test_both_engines_make_the_same_marts_and_take_turns(stores: Stores, world: World, session: Session) -> None:
    fill(stores, world)
    ours = publish(stores)
    theirs = publish_from_engine(stores, session)
    compared = compare_published(theirs.path, ours.path)
    assert [table for table in compared if table.missing or table.unexpected] == []
    assert {table.table for table in compared if table.rows} >= {"email_daily", "lead_analytics", "billing_analytics"}
    assert theirs.number == ours.number + 1
    world.event("2", "opened", 60, tenant="t2")
    roll_up(stores)
    publish(stores, whole=False)
    assert_marts_are_exact(stores, world)


def test_what_readers_have_stays_when_the_engine_fails_or_disagrees(
    stores: Stores, world: World, session: Session
) -> None:
    world.message("a")
    world.event("a", "sent")
    world.event("a", "opened", 24)
    roll_up(stores)
    before = publish(stores)
    with pytest.raises(EngineFailed, match="nothing was published"), open_session("sc://127.0.0.1:1") as nowhere:
        publish_from_engine(stores, nowhere)
    world.execute("DELETE FROM email_events WHERE event_type = 'opened'")
    with pytest.raises(ReconciliationFailed, match=str(START.date() + timedelta(days=1))):
        publish_from_engine(stores, session)
    assert newest_snapshot(stores.marts_folder) == before.path
    assert [path.name for path in stores.marts_folder.glob("from_engine*")] == []
