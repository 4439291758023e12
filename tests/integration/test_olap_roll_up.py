"""Roll-up, publishing and reading on real servers: what the marts say, and what happens when something is wrong."""

from __future__ import annotations

import errno
import threading
from datetime import timedelta

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

from penguinmails.olap.build import open_build
from penguinmails.olap.errors import (
    BuildBusy,
    CursorUnusable,
    LandingDamaged,
    NothingPublished,
    ReconciliationFailed,
    StorageFailed,
)
from penguinmails.olap.landing import manifest_key
from penguinmails.olap.lock import one_at_a_time
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import newest_snapshot, open_marts, snapshots
from penguinmails.olap.reconcile import reconcile
from penguinmails.olap.roll_up import landing_of, rebuild, roll_up
from penguinmails.olap.statistics import published_state
from penguinmails.stack.stores import Stores


def brought_up_to_date(stores: Stores) -> None:
    roll_up(stores)
    publish(stores)


def assert_exact(stores: Stores, world: World) -> None:
    assert_marts_are_exact(stores, world)
    assert reconcile(stores).differences == ()


def campaign(stores: Stores, column: str, name: str = "t1.c1") -> int:
    with open_marts(stores) as connection:
        row = connection.execute(
            f"SELECT {column} FROM campaign_analytics WHERE campaign_id = ?", [str(named(name))]
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_message_counts_once_per_measure_on_its_first_day(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent", 0)
    world.event("a", "opened", 30)
    world.event("a", "opened", 31)
    brought_up_to_date(stores)
    assert campaign(stores, "opened_tracked") == 1
    world.event("a", "opened", 6)  # arrives late and was earlier: the message moves to another day
    brought_up_to_date(stores)
    with open_marts(stores) as connection:
        days = connection.execute("SELECT day FROM email_daily WHERE opened_tracked = 1").fetchall()
    assert days == [((START + timedelta(hours=6)).date(),)]
    assert_exact(stores, world)
    assert_equal_to_recomputation(stores)


def test_the_checksum_of_older_servers_is_the_same(
    stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.message("a")
    world.event("a", "sent", 0)
    for number in range(20):
        world.event("a", "opened", number)
    brought_up_to_date(stores)
    monkeypatch.setattr("penguinmails.olap.reconcile._BYTES_ARE_NUMBERS_SINCE", 999999)
    report = reconcile(stores)
    assert (report.rows, report.differences) == (21, ())


def test_an_event_committed_after_a_later_one_is_not_lost(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    late = world.connect()
    world.event("a", "opened", 1, connection=late)
    world.event("a", "clicked", 2)
    brought_up_to_date(stores)
    assert (campaign(stores, "opened_tracked"), campaign(stores, "clicked_tracked")) == (0, 1)
    late.commit()
    brought_up_to_date(stores)
    assert (campaign(stores, "opened_tracked"), campaign(stores, "clicked_tracked")) == (1, 1)
    assert_exact(stores, world)


def test_a_message_that_moves_takes_its_counts_with_it(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    world.execute("SET ROLE pm_loader")
    with world.connect() as connection:
        connection.execute(
            "UPDATE email_messages SET campaign_id = %s, campaign_sequence_step_id = %s, xid = pg_current_xact_id()"
            " WHERE id = %s",
            [named("t1.c2"), named("t1.c2.s1"), named("t1.a")],
        )
    brought_up_to_date(stores)
    assert (campaign(stores, "sent", "t1.c1"), campaign(stores, "sent", "t1.c2")) == (0, 1)
    assert_exact(stores, world)


def test_completed_leads(stores: Stores, world: World) -> None:
    world.message("a", lead="l1", step="s1")
    world.message("b", lead="l2", step="s1")
    world.message("c", lead="l3", step="s2")
    for message in "abc":
        world.event(message, "sent")
    world.event("a", "replied", 2)
    brought_up_to_date(stores)
    assert campaign(stores, "completed_leads") == 2  # l1 replied, l3 was sent the last step; l2 waits for it
    assert_exact(stores, world)


def test_what_cannot_count_is_quarantined_with_its_reason(stores: Stores, world: World) -> None:
    world.execute("SET ROLE pm_owner; ALTER TABLE email_events DROP CONSTRAINT email_events_event_type_is_known")
    world.message("a")
    world.event("a", "sent", 10)
    world.event("a", "opened", 9)
    world.event("a", "clicked", 500, ingested_hours=11)
    world.event("a", "teleported", 11)
    world.event("nobody", "opened", 11)
    with world.connect() as connection:
        connection.execute(
            "INSERT INTO email_events (tenant_id, message_id, event_type, occurred_at) VALUES (%s, %s, 'opened', 'infinity')",
            [named("t1"), named("t1.a")],
        )
    report = roll_up(stores)
    assert report.events_quarantined == 5
    publish(stores)
    with open_marts(stores) as connection:
        reasons = dict(
            connection.execute("SELECT reason, SUM(events) FROM quarantine_summary GROUP BY reason").fetchall()
        )
    assert reasons == {"before_sent": 1, "in_the_future": 2, "unknown_event_type": 1, "no_message": 1}
    assert_exact(stores, world)
    world.message("nobody", lead="l2")  # the message arrives: its event counts, without anybody doing anything
    brought_up_to_date(stores)
    assert campaign(stores, "opened_tracked") == 1
    assert published_state(stores).events_quarantined == 4
    assert_exact(stores, world)


def test_nothing_new_costs_no_batch_and_moves_the_time(stores: Stores, world: World) -> None:
    world.message("a")
    first = roll_up(stores)
    second = roll_up(stores)
    assert (first.batches, second.batches, second.rows_extracted) == (1, 0, 0)
    assert second.as_of > first.as_of
    assert landing_of(stores).newest() == 1


def test_a_deleted_campaign_leaves_the_mart(stores: Stores, world: World) -> None:
    world.message("a", campaign="c2")
    world.event("a", "sent")
    brought_up_to_date(stores)
    with world.connect() as connection:
        connection.execute("UPDATE email_messages SET campaign_id = NULL, xid = pg_current_xact_id()")
        connection.execute("DELETE FROM campaigns WHERE id = %s", [named("t1.c2")])
    brought_up_to_date(stores)
    assert_exact(stores, world)


def test_a_killed_run_is_taken_up_where_it_was(stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import penguinmails.olap.roll_up as module

    world.message("a")
    world.event("a", "sent")
    for step, what, batches in (("rebuild_from_landing", "opened", 2), ("apply_batch", "clicked", 2)):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                roll_up(stores)
        world.event("a", what, 1)
        assert roll_up(stores).batches == batches
        world.event("a", what, 2)
    publish(stores)
    roll_up(stores)
    publish(stores)
    assert_exact(stores, world)


def test_a_lost_build_is_made_anew_from_the_landing_zone(stores: Stores, world: World) -> None:
    world.message("a")
    for event_type in ("sent", "opened", "clicked"):
        world.event("a", event_type)
        roll_up(stores)
    (stores.marts_folder / "build" / "build.duckdb").unlink()
    report = roll_up(stores)
    assert report.rows_extracted == 0
    publish(stores)
    assert_exact(stores, world)


def test_a_damaged_build_file_is_named_and_made_anew(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    (stores.marts_folder / "build" / "build.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageFailed, match="marts rebuild"):
        roll_up(stores)
    assert campaign(stores, "sent") == 1
    rebuild(stores)
    publish(stores)
    assert_exact(stores, world)


def test_a_folder_without_room_changes_nothing(stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    before = newest_snapshot(stores.marts_folder)
    world.event("a", "opened", 1)
    with monkeypatch.context() as patched:
        full = OSError(errno.ENOSPC, "No space left on device")
        patched.setattr("pyarrow.parquet.ParquetWriter.write_batch", lambda *_, **__: (_ for _ in ()).throw(full))
        with pytest.raises(StorageFailed, match="No space left"):
            roll_up(stores)
    assert newest_snapshot(stores.marts_folder) == before
    brought_up_to_date(stores)
    assert_exact(stores, world)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_landing_file_is_named_and_changes_nothing(stores: Stores, world: World, damage: str) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    before = newest_snapshot(stores.marts_folder)
    bucket = stores.open_bucket()
    key = next(entry.key for entry in bucket.list("landing/email_events/"))
    if damage == "missing":
        bucket.delete([key])
    else:
        bucket.put(key, b"something else")
    with pytest.raises(LandingDamaged, match=key):
        rebuild(stores)
    assert newest_snapshot(stores.marts_folder) == before
    assert campaign(stores, "sent") == 1
    rebuild(stores, from_database=True)
    publish(stores)
    assert_exact(stores, world)


def test_a_gap_in_the_landing_zone_is_named(stores: Stores, world: World) -> None:
    for message in "abc":
        world.message(message)
        roll_up(stores)
    stores.open_bucket().delete([manifest_key(2)])
    with pytest.raises(LandingDamaged, match="batch 2"):
        rebuild(stores)


def test_another_history_is_refused(stores: Stores, world: World) -> None:
    roll_up(stores)
    for column, value, problem in (
        ("snapshot", "9000000:9000000:", "history was lost"),
        ("timeline", "99", "timeline"),
        ("system_identifier", "1", "is not the one"),
    ):
        with open_build(stores.marts_folder) as build:
            build.connection.execute(f"UPDATE position SET {column} = ?", [value])
        with pytest.raises(CursorUnusable, match=problem):
            roll_up(stores)
    rebuild(stores, from_database=True)
    brought_up_to_date(stores)
    assert_exact(stores, world)


def test_a_difference_to_the_database_publishes_nothing_and_names_the_day(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    world.event("a", "opened", 1)
    roll_up(stores)
    before = newest_snapshot(stores.marts_folder)
    with open_build(stores.marts_folder) as build:
        build.connection.execute("DELETE FROM email_events WHERE event_type = 'opened'")
    with pytest.raises(ReconciliationFailed, match=str(START.date())):
        publish(stores)
    assert newest_snapshot(stores.marts_folder) == before
    assert [path.name for path in (stores.marts_folder / "snapshots").iterdir()] == [before.name]


def test_nothing_is_published_before_a_roll_up(stores: Stores) -> None:
    with pytest.raises(NothingPublished):
        publish(stores)
    with pytest.raises(NothingPublished):
        open_marts(stores)


def test_who_has_the_marts_open_keeps_what_he_sees_and_the_next_sees_the_new(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    with open_marts(stores) as reader:
        world.message("b")
        world.event("b", "sent")
        brought_up_to_date(stores)
        old = reader.execute("SELECT SUM(sent) FROM campaign_analytics").fetchone()
        with open_marts(stores) as second:
            new = second.execute("SELECT SUM(sent) FROM campaign_analytics").fetchone()
    assert (old, new) == ((1,), (2,))


def test_only_the_last_snapshots_are_kept(stores: Stores, world: World) -> None:
    for _ in range(4):
        roll_up(stores)
        report = publish(stores, kept_snapshots=2)
    assert [path.stem for path in snapshots(stores.marts_folder)] == ["marts-00000003", "marts-00000004"]
    assert newest_snapshot(stores.marts_folder) == report.path


def test_who_finds_the_build_taken_says_by_whom(stores: Stores, world: World) -> None:
    with one_at_a_time(stores.marts_folder), pytest.raises(BuildBusy, match="process"):
        roll_up(stores, wait_seconds=0)


def test_two_roll_ups_at_once_do_the_work_once(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(roll_up(stores))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.batches for report in reports) == [0, 0, 1]
    publish(stores)
    assert_exact(stores, world)


def test_a_file_built_upon_the_last_one_has_the_same_rows(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    roll_up(stores)
    assert publish(stores, whole=False).whole  # there is nothing to build upon yet
    world.event("a", "opened", 30)
    world.message("b", lead="l2", mailbox="m2")
    world.event("b", "sent", 1)
    roll_up(stores)
    assert not publish(stores, whole=False).whole
    assert_exact(stores, world)
    world.execute("UPDATE leads SET status = 'unsubscribed' WHERE id = %s", [named("t1.l1")])
    world.execute("DELETE FROM leads WHERE id = %s", [named("t1.l2")])
    roll_up(stores)
    assert not publish(stores, whole=False).whole
    assert_exact(stores, world)


def test_a_publication_killed_before_it_is_remembered_is_built_upon_the_one_before(
    stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    world.event("a", "opened", 1)
    roll_up(stores)
    with monkeypatch.context() as patched:
        patched.setattr("penguinmails.olap.publishing._remember", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(stores, whole=False)
    world.event("a", "clicked", 2)
    roll_up(stores)
    report = publish(stores, whole=False)
    assert (report.number, report.whole) == (3, False)
    assert_exact(stores, world)


def test_after_a_rebuild_and_without_its_base_a_file_is_written_whole(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    brought_up_to_date(stores)
    rebuild(stores)
    assert publish(stores, whole=False).whole
    newest_snapshot(stores.marts_folder).unlink()
    roll_up(stores)
    assert publish(stores, whole=False).whole
    assert_exact(stores, world)
