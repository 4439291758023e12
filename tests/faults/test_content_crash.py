"""kill -9 at every step of a hand-over: nothing is lost, nothing is stored twice, nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from content_support import NOON, HandOverArea, bodies, make_template, stores_of

from penguinmails.content_store import checking
from penguinmails.content_store.export import storage_keys
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.pack_writer import HandOverStep
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
CHILD = Path(__file__).parent.parent / "content_crash_child.py"
LONG_PAST = -1e9
"""Seconds of grace so long over that bodies stored just now may go, whatever the clock of the test."""


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def die_at(stores: Stores, step: HandOverStep, *, times: int) -> None:
    orders = {
        "content_url": stores.content_url.get_secret_value(),
        "bucket": stores.bucket.name,
        "home": str(stores.home),
        "step": step,
        "times": times,
        "grace_seconds": LONG_PAST if step is HandOverStep.REMOVED else 86_400,
    }
    ended = subprocess.run(
        [sys.executable, str(CHILD)], input=json.dumps(orders).encode(), capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


@pytest.mark.parametrize("step", list(HandOverStep))
def test_a_killed_hand_over_is_continued(
    stores: Stores, area: HandOverArea, bucket: Bucket, step: HandOverStep
) -> None:
    messages = bodies(30)
    area.add(*messages)
    die_at(stores, step, times=1 if step is HandOverStep.REMOVED else 2)
    report = hand_over(stores, area, clock=lambda: NOON + timedelta(hours=1))
    assert report.messages + report.already_there == area_missing(step, len(messages))
    assert area.unstored() == 0
    after_lease = NOON + timedelta(hours=1) + 2 * LEASE
    sweep(stores, clock=lambda: after_lease)
    assert_whole(stores, area, bucket, messages)


def area_missing(step: HandOverStep, messages: int) -> int:
    """How many messages the run after the crash still has to do: each claim of the dead run held ten."""
    return {HandOverStep.REMOVED: 0, HandOverStep.MARKED: messages - 20}.get(step, messages - 10)


def assert_whole(stores: Stores, area: HandOverArea, bucket: Bucket, messages: list) -> None:
    assert sorted(storage_keys(stores)) == sorted(storage_key(body.tenant_id, body.message_id) for body in messages)
    with ContentReader(stores) as reader:
        for body in messages:
            assert reader.read(storage_key(body.tenant_id, body.message_id)) == body.raw_message
    with psycopg.connect(stores.content_url.get_secret_value()) as connection:
        live = connection.execute("SELECT object_key FROM content_packs WHERE state = 'live'").fetchall()
        states = connection.execute("SELECT DISTINCT state FROM content_packs").fetchall()
    assert sorted(entry.key for entry in bucket.list(PREFIX)) == sorted(key for (key,) in live)
    assert {state for (state,) in states} <= {"live", "deleted"}
    assert checking.check_references(stores, area).ok
    assert checking.check_orphans(stores, clock=lambda: NOON + timedelta(days=9)).ok
