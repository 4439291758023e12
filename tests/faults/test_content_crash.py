"""kill -9 at every step there is (steps.py): nothing is lost, nothing is done twice, nothing is left behind."""

from __future__ import annotations

import mailbox
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import psutil
import pytest
from content_crash_child import Orders, run_and_die
from content_support import NOON, TENANT_A, HandOverArea, bodies, connect_to_index, make_template, stores_of
from process_support import children_running

from penguinmails.content_store import checking
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.errors import SealingProcessEnded
from penguinmails.content_store.export import ExportScope, export_messages, storage_keys
from penguinmails.content_store.export_formats import Format
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.key_rotation import rotate_key
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.retention import apply_retention, set_policy
from penguinmails.content_store.steps import (
    ALL_STEPS,
    CompactionStep,
    ErasureStep,
    ExportStep,
    HandOverStep,
    RetentionStep,
    RotationStep,
    SweepStep,
    TrainingStep,
)
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


_KILLED_AT: set[str] = set()


def die_at(
    stores: Stores,
    action: str,
    step: StrEnum,
    *,
    times: int = 1,
    now: datetime = NOON + timedelta(hours=1),
    claim: int = 4,
) -> None:
    grace = LONG_PAST if step == HandOverStep.REMOVED else timedelta(days=1)
    url = stores.content_url.get_secret_value()
    orders = Orders(action, step, times, now, grace, url, stores.bucket.name, stores.home, claim)
    assert run_and_die(orders) == -signal.SIGKILL
    _KILLED_AT.add(f"{type(step).__name__}.{step.name}")


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


def test_a_hand_over_whose_sealing_process_is_killed_is_continued(
    stores: Stores, area: HandOverArea, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguinmails.content_store.hand_over.CLAIM_MESSAGES", 4)
    monkeypatch.setattr("penguinmails.content_store.sealing_processes._WORTH_IT_BYTES", 0)
    messages = bodies(40)
    area.add(*messages)
    killed: list[psutil.Process] = []

    def kill_one(step: StrEnum) -> None:
        if step is HandOverStep.BUILT and not killed:
            killed.extend(children_running("sealing_processes"))
            for child in killed:
                child.kill()

    with pytest.raises(SealingProcessEnded, match="-9"):
        hand_over(stores, area, clock=lambda: NOON, at_step=kill_one)
    assert len(killed) == 2
    assert not children_running("sealing_processes")
    assert 0 < area.unstored() < len(messages)
    hand_over(stores, area, clock=lambda: NOON)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    assert_whole(stores, area, bucket, messages)


def test_an_interrupted_hand_over_stops_with_its_processes(
    stores: Stores, area: HandOverArea, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguinmails.content_store.hand_over.CLAIM_MESSAGES", 4)
    monkeypatch.setattr("penguinmails.content_store.sealing_processes._WORTH_IT_BYTES", 0)
    messages = bodies(200)
    area.add(*messages)
    interrupted: list[StrEnum] = []

    def interrupt(step: StrEnum) -> None:
        if step is HandOverStep.BUILT and not interrupted:
            interrupted.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        hand_over(stores, area, clock=lambda: NOON, at_step=interrupt)
    assert not children_running("sealing_processes")
    assert area.unstored() > 0
    hand_over(stores, area, clock=lambda: NOON)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
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


@pytest.mark.parametrize("step", list(TrainingStep))
def test_a_killed_training_is_done_again(
    stores: Stores, area: HandOverArea, bucket: Bucket, step: TrainingStep
) -> None:
    messages = bodies(220)
    area.add(*messages)
    die_at(stores, "hand_over", step, claim=1000)
    assert hand_over(stores, area, clock=lambda: NOON + timedelta(hours=1)).messages == len(messages)
    sweep(stores, clock=lambda: NOON + timedelta(hours=1) + 2 * LEASE)
    with connect_to_index(stores.content_url) as connection:
        known = connection.execute("SELECT object_key FROM dictionaries WHERE state = 'live'").fetchall()
    there = [entry.key for entry in bucket.list(PREFIX) if "/dictionaries/" in entry.key]
    assert sorted(there) == sorted(name for (name,) in known)
    with ContentReader(stores) as reader:
        for body in messages[::20]:
            assert reader.read(storage_key(body.tenant_id, body.message_id)) == body.raw_message


@pytest.mark.parametrize(
    ("step", "times"), [(step, 1) for step in ErasureStep] + [(ErasureStep.KEYS_DROPPED, 2), (ErasureStep.CERTIFIED, 2)]
)
def test_a_killed_erasure_is_continued(stores: Stores, area: HandOverArea, step: ErasureStep, times: int) -> None:
    messages = bodies(8)
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)
    keys = [storage_key(body.tenant_id, body.message_id) for body in messages]
    of_tenant = step in (ErasureStep.TENANT_KEY_DROPPED, ErasureStep.TENANT_KEY_DESTROYED)
    chosen = keys if of_tenant else keys[:5]
    request_erasure(stores, TENANT_A, storage_keys=None if of_tenant else chosen, clock=lambda: NOON)
    if of_tenant or (step is ErasureStep.CERTIFIED and times == 2):
        run_erasures(stores, area, clock=lambda: NOON)
        compact(stores, clock=lambda: NOON, everything_erased=True)
        sweep(stores, clock=lambda: NOON + 2 * LEASE)
        times = 1
    die_at(stores, "erase", step, times=times)
    run_erasures(stores, area, clock=lambda: NOON)
    compact(stores, clock=lambda: NOON, everything_erased=True)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    run_erasures(stores, area, clock=lambda: NOON)
    assert sorted(storage_keys(stores)) == sorted(set(keys) - set(chosen))
    with connect_to_index(stores.content_url) as connection:
        certified = connection.execute("SELECT statement ->> 'state' FROM erasure_certificates ORDER BY sequence")
        states = [state for (state,) in certified]
    assert states == ["unreadable", "bytes gone", *(["tenant key destroyed"] if of_tenant else [])]
    assert (stores.keys_folder / f"{TENANT_A}.1.key").exists() is not of_tenant
    assert check_chain(stores).broken_at is None


@pytest.mark.parametrize("step", list(RetentionStep))
def test_a_killed_retention_is_continued(stores: Stores, area: HandOverArea, step: RetentionStep) -> None:
    area.add(*bodies(8))
    hand_over(stores, area, clock=lambda: NOON)
    set_policy(stores, TENANT_A, "outbound", 1, clock=lambda: NOON)
    later = NOON + timedelta(days=2)
    die_at(stores, "retain", step, now=later)
    assert len(list(storage_keys(stores))) == 5
    assert apply_retention(stores, clock=lambda: later).messages == 5
    with connect_to_index(stores.content_url) as connection:
        assert connection.execute("SELECT dead_messages FROM content_packs").fetchall() == [(8,)]


@pytest.mark.parametrize("step", list(RotationStep))
def test_a_killed_rotation_is_continued(stores: Stores, area: HandOverArea, bucket: Bucket, step: RotationStep) -> None:
    messages = bodies(8)
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)
    die_at(stores, "rotate", step)
    assert_whole(stores, area, bucket, messages)
    left = 8 if step is RotationStep.GENERATION_MADE else 5
    assert rotate_key(stores, TENANT_A, clock=lambda: NOON, resume=True).messages == left
    assert_whole(stores, area, bucket, messages)


@pytest.mark.parametrize("step", list(SweepStep))
def test_a_killed_sweep_is_continued(stores: Stores, area: HandOverArea, bucket: Bucket, step: SweepStep) -> None:
    messages = bodies(12)
    area.add(*messages)
    die_at(stores, "hand_over", HandOverStep.STORED)
    hand_over(stores, area, clock=lambda: NOON)
    after = NOON + timedelta(hours=1) + 2 * LEASE
    die_at(stores, "sweep", step, now=after)
    assert checking.check_packs(stores).ok
    sweep(stores, clock=lambda: after)
    assert_whole(stores, area, bucket, messages)


@pytest.mark.parametrize("step", list(ExportStep))
def test_a_killed_export_goes_on_where_it_was(stores: Stores, area: HandOverArea, step: ExportStep) -> None:
    messages = bodies(8)
    area.add(*messages[:5])
    hand_over(stores, area, clock=lambda: NOON)
    area.add(*messages[5:])  # still waiting
    path = stores.home / "mbox"
    die_at(stores, "export", step, times=1 if step is ExportStep.FINISHED else 2)
    report = export_messages(stores, area, ExportScope(TENANT_A), path, form=Format.MBOX)
    assert (report.messages, report.size_bytes) == (8, sum(len(body.raw_message) for body in messages))
    found = mailbox.mbox(path, create=False)
    subjects = sorted(message["Subject"] for message in found)
    found.close()
    assert subjects == sorted(f"Quick question {number}" for number in range(8))


def test_every_step_there_is_was_the_last_one_once() -> None:
    """Runs last in this file."""
    assert {f"{kind.__name__}.{step.name}" for kind in ALL_STEPS for step in kind} == _KILLED_AT
