"""Months are made ahead and taken out: never one that somebody needs, and nothing without being asked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from oltp_support import NOW, ListSource, clock, items, mail, rows, shared_stores, stores

from penguinmails.oltp import retention
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.partitions import ensure_partitions, months_after, partitions, rows_in_default_partitions
from penguinmails.oltp.retention import POLICIES, Step
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
LATER = datetime(2029, 1, 15, tzinfo=UTC)
SEPTEMBER = date(2026, 9, 1)


def snapshot(rows: Rows) -> str:
    return str(rows("SELECT pg_current_snapshot()::text")[0][0])


def months(stores: Stores, table: str) -> set[date]:
    with connect(stores.oltp_url) as connection:
        return {part.month for part in partitions(connection) if part.table_name == table and part.month}


def apply(stores: Stores, extracted: str | None) -> dict[tuple[str, date], str]:
    with connect(stores.oltp_url) as connection:
        return {
            (step.table, step.month): step.blocked_by
            for step in retention.apply(connection, now=LATER, extracted=extracted)
        }


@pytest.fixture
def loaded(stores: Stores) -> Stores:
    with connect(stores.oltp_url, Role.OWNER) as connection:
        ensure_partitions(connection, now=NOW)
    load_mail(stores, ListSource(items(mail(1), mail(2))), clock=clock)
    return stores


def test_no_growing_table_was_forgotten() -> None:
    ledger = "mail_intake"  # grows, but its key must be unique over all time, so it has no partitions
    assert set(POLICIES) == {name for name, table in TABLES.items() if table.partitioned_by} | {ledger}


def test_months_are_made_once_and_ahead(stores: Stores) -> None:
    with connect(stores.oltp_url, Role.OWNER) as connection:
        ensure_partitions(connection, now=NOW)
        before = partitions(connection)
        ensure_partitions(connection, now=NOW)
        assert [part.partition_name for part in partitions(connection)] == [part.partition_name for part in before]
        assert {part.month for part in before if part.table_name == "email_events"} >= {
            date(2026, 1, 1),
            date(2027, 3, 1),
        }
        assert set(rows_in_default_partitions(connection).values()) == {0}
    assert months_after(date(2026, 11, 30), 2) == date(2027, 1, 1)
    assert months_after(date(2026, 1, 31), -1) == date(2025, 12, 1)


def test_a_plan_changes_nothing_and_knows_nothing_goes_unextracted(loaded: Stores) -> None:
    before = months(loaded, "email_events")
    with connect(loaded.oltp_url) as connection:
        steps = retention.plan(connection, now=LATER, extracted=None)
        assert steps
        assert "mail_intake" not in {step.table for step in steps}, "its messages are still here"
        assert all(step.blocked_by == "it is not known what the marts have taken" for step in steps)
        assert retention.plan(connection, now=NOW, extracted=None) == []
    assert months(loaded, "email_events") == before


def test_what_others_need_stays_and_the_rest_goes(loaded: Stores, rows: Rows) -> None:
    extracted_before_load = "1:1:"
    assert "marts have not taken" in apply(loaded, extracted_before_load)["email_events", SEPTEMBER]
    assert SEPTEMBER in months(loaded, "email_events")

    outcome = apply(loaded, snapshot(rows))
    assert outcome["email_events", SEPTEMBER] == ""
    assert "body that the content tier has not taken" in outcome["email_messages", SEPTEMBER]
    assert SEPTEMBER not in months(loaded, "email_events")
    assert rows("SELECT count(*) FROM email_events") == [(0,)]
    assert rows("SELECT count(*) FROM email_messages") == [(2,)]

    bodies, owner = MessageBodies(loaded), uuid.uuid4()
    claimed = bodies.claim(owner, max_messages=10, max_bytes=10**6)
    bodies.mark_stored([(body.tenant_id, body.message_id, "key") for body in claimed])
    bodies.release(owner)
    bodies.remove_stored(datetime(2100, 1, 1, tzinfo=UTC), limit=10)
    assert apply(loaded, snapshot(rows))["email_messages", SEPTEMBER] == ""
    assert rows("SELECT count(*) FROM email_messages") == [(0,)]
    assert rows("SELECT count(*) FROM mail_intake") == [(2,)]
    [(taken_in,)] = rows("SELECT DISTINCT date_trunc('month', created AT TIME ZONE 'UTC')::date FROM mail_intake")
    assert apply(loaded, snapshot(rows)) == {("mail_intake", taken_in): ""}
    assert rows("SELECT count(*) FROM mail_intake") == [(0,)]
    assert apply(loaded, snapshot(rows)) == {}


def test_a_month_in_use_is_left_for_the_next_run(loaded: Stores, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_LOCK_SECONDS", 0.2)
    with connect(loaded.oltp_url, Role.LOADER, autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM email_events")
        outcome = apply(loaded, snapshot(rows))
    kept: dict[tuple[str, date], str] = {key: why for key, why in outcome.items() if key[0] == "email_events"}
    assert all("others held it" in why for why in kept.values())
    assert rows("SELECT count(*) FROM email_events") == [(2,)]
    assert Step.__dataclass_fields__.keys() >= {"blocked_by"}


def test_a_snapshot_that_is_none_is_named(stores: Stores) -> None:
    with connect(stores.oltp_url) as connection, pytest.raises(InputError, match="snapshot: is none"):
        retention.apply(connection, now=LATER, extracted="yesterday")
