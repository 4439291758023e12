"""Retention, holds, soft deletion, erasure, compaction: what must go goes, what must stay stays, and it can be proven."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
    HandOverArea,
    bodies,
    connect_to_index,
    mail,
    make_template,
    message_id,
    stores_of,
)

from penguinmails.content_store import checking, erasure
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.compaction import DELETE_AFTER, ERASED_AFTER, compact, plan_compaction
from penguinmails.content_store.deletion import UNDELETE_WITHIN, soft_delete, undelete
from penguinmails.content_store.errors import ContentGone
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.holds import list_holds, place_hold, release_hold
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.retention import apply_retention, plan_retention, set_policy
from penguinmails.content_store.retention_classes import DEFAULT_KEEP_DAYS
from penguinmails.content_store.storage_layout import PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.errors import InputError
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def key(number: int, tenant_id=TENANT_A) -> str:
    return storage_key(tenant_id, message_id(number, tenant_id))


def store(stores: Stores, area: HandOverArea, *messages) -> None:
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)


def readable(stores: Stores, numbers, tenant_id=TENANT_A) -> list[int]:
    found = []
    with ContentReader(stores) as reader:
        for number in numbers:
            try:
                assert reader.read(key(number, tenant_id)) == mail(number)
                found.append(number)
            except ContentGone:
                pass
    return found


def sql(stores: Stores, statement: str, *values) -> list[tuple]:
    with connect_to_index(stores.content_url) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def packs_in(bucket: Bucket) -> set[str]:
    return {entry.key for entry in bucket.list(PREFIX) if entry.key.endswith(".pmpack")}


def test_a_soft_deletion_can_be_undone_for_a_time(stores: Stores, area: HandOverArea, time: Time) -> None:
    store(stores, area, *bodies(6), *bodies(2, tenant_id=TENANT_B))
    deleted = soft_delete(stores, TENANT_A, [key(1), key(2), key(1, TENANT_B), "x"], clock=time)
    assert set(deleted) == {key(1), key(2)}
    assert readable(stores, range(6)) == [0, 3, 4, 5]
    assert undelete(stores, TENANT_A, [key(1), key(0)], clock=time) == [key(1)]
    time.pass_by(UNDELETE_WITHIN + timedelta(hours=1))
    assert plan_retention(stores, clock=time).messages == 1
    assert apply_retention(stores, clock=time).messages == 1
    assert undelete(stores, TENANT_A, [key(2)], clock=time) == []
    assert readable(stores, range(6)) == [0, 1, 3, 4, 5]
    assert apply_retention(stores, clock=time).messages == 0


def test_what_is_past_its_time_goes_by_tenant_and_class(stores: Stores, area: HandOverArea, time: Time) -> None:
    old = [dataclasses.replace(body, created=NOON - timedelta(days=400)) for body in bodies(5)]
    new = [
        dataclasses.replace(body, message_id=message_id(10 + n), raw_message=mail(10 + n))
        for n, body in enumerate(bodies(5))
    ]
    inbound = [
        dataclasses.replace(body, message_id=message_id(20 + n), direction="inbound", raw_message=mail(20 + n))
        for n, body in enumerate(old)
    ]
    other = [dataclasses.replace(body, created=NOON - timedelta(days=400)) for body in bodies(5, tenant_id=TENANT_B)]
    store(stores, area, *old, *new, *inbound, *other)
    assert plan_retention(stores, clock=time).messages == 0
    set_policy(stores, TENANT_A, "outbound", 365, clock=time)
    place_hold(stores, area, TENANT_A, matter="7/2026", storage_keys=[key(3)], clock=time)
    plan = plan_retention(stores, clock=time)
    assert [(item.tenant_id, item.retention_class, item.messages, item.held) for item in plan.months] == [
        (TENANT_A, "outbound", 5, 1)
    ]
    assert readable(stores, range(5)) == [0, 1, 2, 3, 4]
    assert apply_retention(stores, clock=time, most_messages=3).messages == 3
    assert apply_retention(stores, clock=time).messages == 1
    assert readable(stores, [*range(5), *range(10, 15), *range(20, 25)]) == [3, *range(10, 15), *range(20, 25)]
    assert readable(stores, range(5), TENANT_B) == list(range(5))
    assert sql(stores, "SELECT DISTINCT expires_at FROM content_objects WHERE storage_key = %s", key(11)) == [
        (NOON + timedelta(days=365),)
    ]
    time.pass_by(timedelta(days=DEFAULT_KEEP_DAYS + 1))
    assert apply_retention(stores, clock=time).messages == 15
    assert readable(stores, [3]) == [3]
    for wrong in (("nonsense", 10), ("inbound", 0)):
        with pytest.raises(InputError):
            set_policy(stores, TENANT_A, *wrong, clock=time)


def test_nothing_held_goes_and_a_blocked_erasure_runs_at_release(
    stores: Stores, area: HandOverArea, time: Time
) -> None:
    store(stores, area, *bodies(5))
    some = place_hold(stores, area, TENANT_A, matter="1/2026", storage_keys=[key(1), key(9)], clock=time)
    assert (some.messages, some.not_there) == (1, (key(9),))
    assert soft_delete(stores, TENANT_A, [key(1)], clock=time) == []
    request = erasure.request_erasure(stores, TENANT_A, storage_keys=[key(1), key(2)], clock=time)
    (state,) = erasure.run_erasures(stores, area, clock=time)
    assert (state.request_id, state.messages, state.blocked, state.effective) == (request, 2, 1, False)
    assert readable(stores, range(5)) == [0, 1, 3, 4]
    everything = place_hold(stores, area, TENANT_A, matter="2/2026", storage_keys=None, clock=time)
    release_hold(stores, some.hold_id, clock=time)
    assert not erasure.run_erasures(stores, area, clock=time)[0].effective
    assert readable(stores, [1]) == [1]
    release_hold(stores, everything.hold_id, clock=time)
    assert erasure.run_erasures(stores, area, clock=time)[0].effective
    assert readable(stores, range(5)) == [0, 3, 4]
    assert all(hold.released_at for hold in list_holds(stores))
    with pytest.raises(InputError):
        release_hold(stores, request, clock=time)


def test_an_erasure_leaves_no_bytes_and_is_certified(
    stores: Stores, area: HandOverArea, bucket: Bucket, time: Time
) -> None:
    store(stores, area, *bodies(20))
    before = packs_in(bucket)
    erasure.request_erasure(stores, TENANT_A, storage_keys=[key(4), key(5)], address=" Lead4@Example.net", clock=time)
    (state,) = erasure.run_erasures(stores, area, clock=time)
    assert (state.effective, state.gone, state.bytes_left) == (True, False, 2)
    assert readable(stores, range(20)) == [n for n in range(20) if n not in (4, 5)]
    assert erasure.is_suppressed(stores, TENANT_A, "lead4@example.NET")
    assert not erasure.is_suppressed(stores, TENANT_B, "lead4@example.net")
    assert plan_compaction(stores, clock=time) == []
    time.pass_by(ERASED_AFTER)
    report = compact(stores, clock=time)
    assert (report.packs_rewritten, report.packs_written, report.messages_moved, report.refused) == (1, 1, 18, ())
    sweep(stores, clock=time)
    assert before < packs_in(bucket)  # a reader may still be on the way to the old pack
    time.pass_by(2 * DELETE_AFTER)
    assert sweep(stores, clock=time).packs_deleted == 1
    assert not before & packs_in(bucket)
    (state,) = erasure.run_erasures(stores, area, clock=time)
    assert state.gone
    assert time.now - NOON < erasure.GONE_WITHIN
    assert erasure.run_erasures(stores, area, clock=time) == []
    assert readable(stores, range(20)) == [n for n in range(20) if n not in (4, 5)]
    statements = [row[0] for row in sql(stores, "SELECT statement FROM erasure_certificates ORDER BY sequence")]
    assert [(item["state"], item["messages"], item["scope"]) for item in statements] == [
        ("unreadable", 2, "person"),
        ("bytes gone", 2, "person"),
    ]
    assert "lead4" not in str(sql(stores, "SELECT to_jsonb(s)::text FROM suppressions AS s"))
    assert check_chain(stores).broken_at is None
    sql(stores, "UPDATE erasure_certificates SET statement = statement || '{\"messages\": 1}' WHERE sequence = 1")
    assert check_chain(stores).broken_at == 1
    assert checking.verify_packs(stores, clock=time).ok
    assert checking.check_packs(stores).ok


def test_a_whole_tenant_is_erased_and_nobody_else(
    stores: Stores, area: HandOverArea, bucket: Bucket, time: Time
) -> None:
    store(stores, area, *bodies(10), *bodies(10, tenant_id=TENANT_B))
    erasure.request_erasure(stores, TENANT_A, clock=time)
    (state,) = erasure.run_erasures(stores, area, clock=time)
    assert (state.messages, state.effective) == (10, True)
    report = compact(stores, clock=time, everything_erased=True)
    assert (report.packs_rewritten, report.packs_written) == (1, 0)
    time.pass_by(2 * DELETE_AFTER)
    sweep(stores, clock=time)
    assert erasure.run_erasures(stores, area, clock=time)[0].gone
    assert readable(stores, range(10)) == []
    assert readable(stores, range(10), TENANT_B) == list(range(10))
    assert not [name for name in packs_in(bucket) if str(TENANT_A) in name]


def test_a_message_that_still_waits_is_erased_before_it_comes(stores: Stores, area: HandOverArea, time: Time) -> None:
    area.add(*bodies(3))
    erasure.request_erasure(stores, TENANT_A, storage_keys=[key(1)], clock=time)
    (state,) = erasure.run_erasures(stores, area, clock=time)
    assert state.gone
    report = hand_over(stores, area, clock=time)
    assert (report.messages, report.already_there) == (2, 0)  # its body has left the hand-over area
    assert readable(stores, range(3)) == [0, 2]
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key(1), bodies=area)


def test_requests_that_make_no_sense_record_nothing(stores: Stores, time: Time) -> None:
    with pytest.raises(InputError):
        erasure.request_erasure(stores, TENANT_A, storage_keys=[key(1, TENANT_B)], clock=time)
    with pytest.raises(InputError):
        erasure.request_erasure(stores, TENANT_A, address="a@example.org", clock=time)
    assert erasure.run_erasures(stores, area, clock=time) == []


def test_small_packs_of_a_month_become_one(stores: Stores, area: HandOverArea, bucket: Bucket, time: Time) -> None:
    messages = bodies(24)
    for start in range(0, 24, 2):
        store(stores, area, *messages[start : start + 2])
    assert len(packs_in(bucket)) == 12
    with ContentReader(stores) as reader:
        reader.read(key(0))
        report = compact(stores, clock=time)
        assert (report.packs_rewritten, report.packs_written, report.messages_moved) == (12, 1, 24)
        time.pass_by(2 * DELETE_AFTER)
        sweep(stores, clock=time)
        assert len(packs_in(bucket)) == 1
        for number in range(24):
            assert reader.read(key(number)) == mail(number)
    assert plan_compaction(stores, clock=time) == []
    assert sql(stores, "SELECT dead_messages, dead_bytes, messages FROM content_packs WHERE state = 'live'") == [
        (0, 0, 24)
    ]


def test_mostly_dead_packs_are_rewritten_and_held_messages_move_along(
    stores: Stores, area: HandOverArea, time: Time
) -> None:
    store(stores, area, *bodies(20))
    place_hold(stores, area, TENANT_A, matter="3/2026", storage_keys=[key(0)], clock=time)
    erasure.request_erasure(stores, TENANT_A, storage_keys=[key(n) for n in range(10)], clock=time)
    erasure.run_erasures(stores, area, clock=time)
    (candidate,) = plan_compaction(stores, clock=time)
    assert (candidate.reason, candidate.live_messages) == ("dead bytes", 11)
    assert compact(stores, clock=time).messages_moved == 11
    assert readable(stores, range(20)) == [0, *range(10, 20)]


def test_compaction_refuses_what_is_not_whole(stores: Stores, area: HandOverArea, bucket: Bucket, time: Time) -> None:
    store(stores, area, *bodies(10), *bodies(10, tenant_id=TENANT_B))
    erasure.request_erasure(stores, TENANT_A, storage_keys=[key(n) for n in range(5)], clock=time)
    erasure.request_erasure(stores, TENANT_B, storage_keys=[key(n, TENANT_B) for n in range(5)], clock=time)
    erasure.run_erasures(stores, area, clock=time)
    sql(stores, "DELETE FROM content_objects WHERE storage_key = %s", key(9))
    (damaged,) = [name for name in packs_in(bucket) if str(TENANT_B) in name]
    content = bytearray(bucket.get(damaged))
    content[-100] ^= 1
    bucket.put(damaged, bytes(content))
    before = packs_in(bucket)
    report = compact(stores, clock=time)
    assert (report.packs_rewritten, len(report.refused)) == (0, 2)
    assert any("does not know" in reason for reason in report.refused)
    time.pass_by(2 * DELETE_AFTER)
    sweep(stores, clock=time)
    assert packs_in(bucket) == before
    assert readable(stores, range(5, 9)) == [5, 6, 7, 8]
