"""An erased person leaves the lead-level facts, the landing zone and the build; sums stay; what comes after counts nowhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

from penguinmails.olap.build import build_path, open_build
from penguinmails.olap.compacting import compact
from penguinmails.olap.publishing import KEPT_FOR, clear_away, publish, published_at_of
from penguinmails.olap.reading import open_marts, snapshot_path, snapshots
from penguinmails.olap.roll_up import rebuild, roll_up
from penguinmails.oltp.erasure import forget_person
from penguinmails.stack.stores import Stores

ERASED_AT = START + timedelta(hours=48)
PERSON = named("t1.l1")
AUDITED = "admin_audit_events"
"""Its entry of the erasure names the row of the lead: the proof."""


@pytest.fixture(name="erased")
def erased_fixture(stores: Stores, world: World) -> Stores:
    """Two leads with mail; then one of them is erased by the operational tier itself."""
    for lead in ("l1", "l2"):
        world.message(f"to {lead}", lead=lead)
        world.event(f"to {lead}", "sent")
        world.event(f"to {lead}", "opened", 2)
    roll_up(stores)
    publish(stores)
    forget_person(stores, named("t1"), "l1@t1.test", clock=lambda: ERASED_AT)
    return stores


def one(stores: Stores, question: str) -> object:
    with open_marts(stores) as connection:
        row = connection.execute(question).fetchone()
    return row and row[0]


def landing_tells_of_the_person(stores: Stores) -> bool:
    bucket = stores.open_bucket()
    for entry in bucket.list("landing/"):
        if entry.key.endswith(".parquet") and AUDITED not in entry.key:
            for column in pq.read_table(pa.BufferReader(bucket.get(entry.key))).columns:
                if PERSON.bytes in column.to_pylist():
                    return True
    return False


def build_tells_of_the_person(stores: Stores) -> bool:
    with open_build(stores.marts_folder) as build:
        tables = build.connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE data_type = 'UUID' AND NOT internal"
        ).fetchall()
        return any(
            build.connection.execute(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", [str(PERSON)]).fetchone()
            for table, column in tables
        )


def test_lead_level_facts_go_and_sums_stay(erased: Stores, world: World) -> None:
    roll_up(erased)
    publish(erased, whole=False)
    assert one(erased, f"SELECT COUNT(*) FROM lead_daily WHERE lead_id = '{PERSON}'") == 0
    assert one(erased, f"SELECT COUNT(*) FROM lead_analytics WHERE lead_id = '{PERSON}'") == 0
    assert one(erased, "SELECT SUM(opened_tracked) FROM campaign_analytics") == 2
    assert_marts_are_exact(erased, world)
    assert_equal_to_recomputation(erased)


def test_what_comes_after_the_erasure_is_quarantined(erased: Stores, world: World) -> None:
    roll_up(erased)
    world.event("to l1", "clicked", 50, ingested_hours=50)
    world.event("to l1", "replied", 47, ingested_hours=47)  # learnt of before, read after: counts
    world.event("to l2", "clicked", 50)
    roll_up(erased)
    publish(erased)
    with open_marts(erased) as connection:
        assert connection.execute("SELECT reason, events FROM quarantine_summary").fetchall() == [("erased_person", 1)]
    assert one(erased, "SELECT SUM(clicked_tracked) FROM campaign_analytics") == 1
    assert one(erased, "SELECT SUM(replied) FROM campaign_analytics") == 1
    assert_marts_are_exact(erased, world)
    rebuild(erased, from_database=True)
    publish(erased)
    assert_marts_are_exact(erased, world)


def test_a_roll_up_between_the_steps_of_an_erasure_changes_nothing_in_the_end(
    stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import penguinmails.oltp.erasure as module

    with world.connect() as connection:
        world.message("a", connection=connection)
        connection.execute("UPDATE email_messages SET to_email = 'l1@t1.test'")
    world.event("a", "sent")
    roll_up(stores)
    settled = module.settled

    def with_a_roll_up(*arguments: object) -> object:
        roll_up(stores)
        return settled(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "settled", with_a_roll_up)
    forget_person(stores, named("t1"), "l1@t1.test", clock=lambda: ERASED_AT)
    world.event("a", "opened", 50)
    roll_up(stores)
    publish(stores)
    assert one(stores, "SELECT SUM(events) FROM quarantine_summary WHERE reason = 'erased_person'") == 1
    assert_marts_are_exact(stores, world)
    assert_equal_to_recomputation(stores)


def test_compaction_takes_the_person_out_of_landing_zone_and_build(erased: Stores, world: World) -> None:
    roll_up(erased)
    assert landing_tells_of_the_person(erased)
    with build_path(erased.marts_folder).open("rb") as old_build:
        compact(erased)
        assert os.fstat(old_build.fileno()).st_nlink == 0, "no block of the old file is left"
    assert not landing_tells_of_the_person(erased)
    assert not build_tells_of_the_person(erased)
    with world.connect() as connection:  # the row of the message changes again: it does not bring the person back
        connection.execute("UPDATE email_messages SET updated = now() WHERE id = %s", [named("t1.to l1")])
    roll_up(erased)
    rebuild(erased, from_database=True)
    assert not build_tells_of_the_person(erased)
    publish(erased)
    assert_marts_are_exact(erased, world)


def test_published_files_with_the_person_are_gone_in_time(tmp_path: Path) -> None:
    """The newest, the last of each of seven days and of each week are kept, nothing longer than KEPT_FOR."""
    (tmp_path / "snapshots").mkdir()
    first = datetime(2026, 3, 2, 6, tzinfo=UTC)
    for hours in range(0, 40 * 24, 8):
        now = first + timedelta(hours=hours)
        path = snapshot_path(tmp_path, hours)
        path.touch()
        os.utime(path, (now.timestamp(), now.timestamp()))
        clear_away(tmp_path, 2, now)
        kept = [now - published_at_of(path) for path in snapshots(tmp_path)]
        assert all(age <= KEPT_FOR for age in kept)
        assert kept[-1] == timedelta(0)
        assert kept[-2:-1] in ([], [timedelta(hours=8)])
    days = [age.days for age in kept]
    assert [age for age in days if age < 7] == [6, 5, 4, 3, 2, 1, 0, 0]
    assert days[:-8] == [26, 19, 12]  # Sundays
