"""kill -9 at every step of a hand-over: nothing is lost, nothing is stored twice, nothing is left behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from content_crash_child import Orders, run_and_die
from content_support import NOON, TENANT_A, HandOverArea, bodies, connect_to_index, make_template, stores_of

from penguinmails.content_store import checking
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.export import storage_keys
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.steps import CompactionStep, HandOverStep
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
LONG_PAST = timedelta(days=-10_000)
"""A grace so long over that bodies stored just now may go, whatever the clock of the test."""


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def die_at(stores: Stores, action: str, step: str, *, times: int, now: datetime = NOON + timedelta(hours=1)) -> None:
    grace = LONG_PAST if step == HandOverStep.REMOVED else timedelta(days=1)
    url = stores.content_url.get_secret_value()
    orders = Orders(action, step, times, now, grace, url, stores.bucket.name, stores.home)
    assert run_and_die(orders) == -signal.SIGKILL


@pytest.mark.parametrize("step", list(HandOverStep))
def test_a_killed_hand_over_is_continued(
    stores: Stores, area: HandOverArea, bucket: Bucket, step: HandOverStep
) -> None:
    messages = bodies(12)
    area.add(*messages)
    die_at(stores, "hand_over", step, times=1 if step is HandOverStep.REMOVED else 2)
    report = hand_over(stores, area, clock=lambda: NOON + timedelta(hours=1))
    assert report.messages + report.already_there == area_missing(step, len(messages))
    assert area.unstored() == 0
    after_lease = NOON + timedelta(hours=1) + 2 * LEASE
    sweep(stores, clock=lambda: after_lease)
    assert_whole(stores, area, bucket, messages)


def area_missing(step: HandOverStep, messages: int) -> int:
    """How many messages the run after the crash still has to do: each claim of the dead run held four."""
    return {HandOverStep.REMOVED: 0, HandOverStep.MARKED: messages - 8}.get(step, messages - 4)


def assert_whole(stores: Stores, area: HandOverArea, bucket: Bucket, messages: list) -> None:
    assert sorted(storage_keys(stores)) == sorted(storage_key(body.tenant_id, body.message_id) for body in messages)
    with ContentReader(stores) as reader:
        for body in messages:
            assert reader.read(storage_key(body.tenant_id, body.message_id)) == body.raw_message
    with connect_to_index(stores.content_url) as connection:
        live = connection.execute("SELECT object_key FROM content_packs WHERE state = 'live'").fetchall()
        states = connection.execute("SELECT DISTINCT state FROM content_packs").fetchall()
    assert sorted(entry.key for entry in bucket.list(PREFIX)) == sorted(key for (key,) in live)
    assert {state for (state,) in states} <= {"live", "deleted"}
    assert checking.check_references(stores, area).ok
    assert checking.check_orphans(stores, clock=lambda: NOON + timedelta(days=9)).ok


@pytest.mark.parametrize("step", list(CompactionStep))
def test_a_killed_compaction_is_continued(stores: Stores, area: HandOverArea, bucket: Bucket, step: str) -> None:
    messages = bodies(12)
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)
    keys = [storage_key(body.tenant_id, body.message_id) for body in messages]
    request_erasure(stores, TENANT_A, storage_keys=keys[:4], clock=lambda: NOON)
    run_erasures(stores, area, clock=lambda: NOON)
    die_at(stores, "compact", step, times=1, now=NOON)
    with ContentReader(stores) as reader:
        assert [reader.read(name) for name in keys[4:]] == [body.raw_message for body in messages[4:]]
    compact(stores, clock=lambda: NOON, everything_erased=True)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    assert run_erasures(stores, area, clock=lambda: NOON)[0].gone
    assert_whole(stores, area, bucket, messages[4:])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_killed_erasure_is_continued(stores: Stores, area: HandOverArea, times: int) -> None:
    messages = bodies(8)
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)
    keys = [storage_key(body.tenant_id, body.message_id) for body in messages]
    request_erasure(stores, TENANT_A, storage_keys=keys[:5], clock=lambda: NOON)
    die_at(stores, "erase", "", times=times)  # after the first page, the second page, the certificate
    (state,) = run_erasures(stores, area, clock=lambda: NOON)
    assert (state.messages, state.effective) == (5, True)
    assert sorted(storage_keys(stores)) == sorted(keys[5:])
    with connect_to_index(stores.content_url) as connection:
        assert connection.execute("SELECT count(*) FROM erasure_certificates").fetchone() == (1,)
        dead = connection.execute("SELECT sum(dead_messages) FROM content_packs").fetchone()
    assert dead == (5,)
    assert check_chain(stores).broken_at is None
