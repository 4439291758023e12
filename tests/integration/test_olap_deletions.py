"""What is deleted in the operational database: leads, campaigns, tenants, single events, old months."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from olap_support import (  # noqa: F401 - fixtures
    START,
    World,
    assert_equal_to_recomputation,
    assert_marts_are_exact,
    named,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap.compacting import compact
from penguinmails.olap.errors import ReconciliationFailed
from penguinmails.olap.extraction import Days
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts
from penguinmails.olap.reconcile import reconcile, require_agreement
from penguinmails.olap.roll_up import rebuild, roll_up
from penguinmails.stack.stores import Stores

FIRST_DAY = Days(START.date(), START.date() + timedelta(days=1))


@pytest.fixture(name="filled")
def filled_fixture(stores: Stores, world: World) -> Stores:
    for number in range(4):
        tenant = "t1" if number < 3 else "t2"
        world.message(str(number), tenant=tenant, lead=f"l{number % 2 + 1}", campaign=f"c{number % 2 + 1}")
        world.event(str(number), "sent", 24 * (number % 2), tenant=tenant)
        world.event(str(number), "replied", 24 * (number % 2) + 1, tenant=tenant)
    roll_up(stores)
    publish(stores)
    return stores


def delete(world: World, statement: str, *parameters: object) -> None:
    with world.connect() as connection:
        connection.execute(statement.encode(), parameters)


def total(stores: Stores, question: str) -> object:
    with open_marts(stores) as connection:
        row = connection.execute(question).fetchone()
    return row and row[0]


def test_an_erased_lead_leaves_lead_level_facts_and_the_sums_stay(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM leads WHERE id = %s", named("t1.l1"))
    roll_up(filled)
    publish(filled)
    assert total(filled, f"SELECT COUNT(*) FROM lead_daily WHERE lead_id = '{named('t1.l1')}'") == 0
    assert total(filled, "SELECT SUM(sent) FROM email_daily") == 4
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_a_deleted_campaign_and_its_steps_leave_their_marts(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM campaigns WHERE id = %s", named("t1.c1"))
    roll_up(filled)
    publish(filled)
    assert total(filled, "SELECT SUM(sent) FROM email_daily") == 4
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_a_deleted_tenant_is_gone_with_everything(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM tenants WHERE id = %s", named("t2"))
    roll_up(filled)
    publish(filled)
    with open_marts(filled) as connection:
        for mart in ("email_daily", "lead_daily", "campaign_analytics", "executive_business_summary"):
            tenants = connection.execute(f"SELECT DISTINCT tenant_id FROM {mart}").fetchall()
            assert tenants == [(named("t1"),)], mart
    assert reconcile(filled).differences == ()
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_deleted_events_are_found_by_reconciliation_and_leave_with_their_day(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM email_events WHERE event_type = 'replied' AND message_id = %s", named("t1.0"))
    with pytest.raises(ReconciliationFailed, match=str(START.date())):
        require_agreement(reconcile(filled))
    report = roll_up(filled, days=FIRST_DAY)
    assert report.days_touched == 1
    publish(filled)
    assert reconcile(filled).differences == ()
    assert total(filled, "SELECT SUM(replied) FROM email_daily") == 3
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_reading_days_again_changes_nothing_that_is_right(filled: Stores, world: World) -> None:
    world.event("1", "opened", 2)
    report = roll_up(filled, days=FIRST_DAY)
    assert report.rows_changed == 1
    publish(filled)
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_a_day_that_is_empty_now_is_emptied(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM email_events WHERE occurred_at >= %s", START + timedelta(hours=20))
    second_day = Days(FIRST_DAY.after, FIRST_DAY.after + timedelta(days=1))
    roll_up(filled, days=second_day)
    publish(filled)
    assert total(filled, "SELECT SUM(sent) FROM email_daily") == 2
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_days_that_aged_out_of_the_database_keep_their_sums(filled: Stores, world: World) -> None:
    delete(world, "DELETE FROM email_events WHERE occurred_at < %s", START + timedelta(hours=20))
    roll_up(filled)
    publish(filled)
    assert reconcile(filled).differences == ()
    assert total(filled, "SELECT SUM(sent) FROM email_daily") == 4
    assert_equal_to_recomputation(filled)


def test_a_long_chain_with_all_kinds_of_changes_is_made_anew_as_it_became(filled: Stores, world: World) -> None:
    second_day = Days(FIRST_DAY.after, FIRST_DAY.after + timedelta(days=1))
    delete(world, "DELETE FROM leads WHERE id = %s", named("t1.l1"))
    roll_up(filled)
    world.message("late", lead="l2")
    world.event("late", "sent", 3)
    roll_up(filled)
    delete(world, "DELETE FROM email_events WHERE event_type = 'replied' AND message_id = %s", named("t1.0"))
    roll_up(filled, days=FIRST_DAY)
    delete(world, "DELETE FROM tenants WHERE id = %s", named("t2"))
    delete(world, "UPDATE email_messages SET message_type = 'auto_reply' WHERE id = %s", named("t1.late"))
    roll_up(filled)
    delete(world, "DELETE FROM email_events WHERE occurred_at >= %s", START + timedelta(hours=20))
    roll_up(filled, days=second_day)
    world.event("late", "opened", 30)
    roll_up(filled)
    publish(filled)
    assert_equal_to_recomputation(filled)
    assert rebuild(filled).batches == 7
    publish(filled)
    assert_marts_are_exact(filled, world)
    assert_equal_to_recomputation(filled)


def test_compaction_removes_the_erased_from_the_landing_zone(filled: Stores, world: World) -> None:
    bucket = filled.open_bucket()

    def landing_mentions(lead: str) -> bool:
        for entry in bucket.list("landing/"):
            if entry.key.endswith(".parquet"):
                table = pq.read_table(pa.BufferReader(bucket.get(entry.key)))
                if "lead_id" in table.schema.names and named(lead).bytes in table["lead_id"].to_pylist():
                    return True
        return False

    delete(world, "DELETE FROM leads WHERE id = %s", named("t1.l1"))
    roll_up(filled)
    assert landing_mentions("t1.l1")
    planned = compact(filled, dry_run=True)
    assert landing_mentions("t1.l1")
    done = compact(filled)
    assert (planned.base, planned.objects_removed) == (done.base, done.objects_removed)
    assert not landing_mentions("t1.l1")
    world.event("1", "opened", 3)
    rebuild(filled)
    publish(filled)
    assert_marts_are_exact(filled, world)
    assert roll_up(filled).batches == 0


def test_a_compaction_killed_before_the_build_is_made_anew_is_taken_up(
    filled: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "penguinmails.olap.compacting.remove_build", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            compact(filled)
    world.event("1", "opened", 3)
    roll_up(filled)
    publish(filled)
    assert_marts_are_exact(filled, world)
    compact(filled)
    rebuild(filled)
    publish(filled)
    assert_marts_are_exact(filled, world)
