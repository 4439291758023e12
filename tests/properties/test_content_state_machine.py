"""Random life of a content tier against a model of what must be true: nothing lost, nothing erased readable, nothing held
deleted, no object that nothing points to after the sweep."""

from __future__ import annotations

import base64
import dataclasses
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
    Body,
    HandOverArea,
    connect_to_index,
    mail,
    make_template,
    message_id,
    stores_of,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from penguinmails.content_store import erasure
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.checking import verify_packs
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.deletion import UNDELETE_WITHIN, soft_delete, undelete
from penguinmails.content_store.errors import ContentGone
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.holds import place_hold, release_hold
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.retention import apply_retention, label_messages, set_label, set_policy
from penguinmails.content_store.retention_classes import DEFAULT_KEEP_DAYS
from penguinmails.content_store.steps import CompactionStep, ErasureStep, HandOverStep, RetentionStep, SweepStep
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
TENANTS = st.sampled_from([TENANT_A, TENANT_B])
NUMBERS = st.lists(st.integers(0, 19), min_size=1, max_size=6, unique=True)


def with_file(number: int) -> bytes:
    """A message with one of two attachments that others have too, or with a small one that stays in its place."""
    size_bytes = 17_000 if number % 9 else 500
    content = base64.encodebytes(random.Random(number % 2).randbytes(size_bytes)).replace(b"\n", b"\r\n")
    head = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nSubject: %d\r\n\r\n" % number
    return head + content


class Crash(Exception):
    """The process ends here, as far as this test is concerned (the kill -9 tests end a real one)."""


@dataclasses.dataclass
class Message:
    created: datetime
    raw: bytes
    stored: bool = False
    deleted_at: datetime | None = None
    erased: bool = False


class ContentLife(RuleBasedStateMachine):
    stores: ClassVar[Stores]
    area: ClassVar[HandOverArea]
    bucket: ClassVar[Bucket]

    def __init__(self) -> None:
        super().__init__()
        tables = "erasure_requests, content_holds, retention_policies, retention_labels, broken_references, attachments"
        with connect_to_index(self.stores.content_url) as connection:
            connection.execute(
                f"TRUNCATE {tables}, content_objects, content_packs, erasure_certificates, hand_over_area.bodies CASCADE"
            )
        self.bucket.delete([entry.key for entry in self.bucket.list(PREFIX)])
        self.now = NOON
        self.messages: dict[str, Message] = {}
        self.holds: dict[uuid.UUID, set[str]] = {}
        self.erasing: set[str] = set()
        self.keep: dict[uuid.UUID, int] = {}
        self.labels: dict[str, int] = {}

    def clock(self) -> datetime:
        return self.now

    def held(self, key: str) -> bool:
        return any(key in members for members in self.holds.values())

    def keys(self, tenant_id: uuid.UUID, numbers: list[int]) -> list[str]:
        return [storage_key(tenant_id, message_id(number, tenant_id)) for number in numbers]

    @rule(tenant_id=TENANTS, numbers=NUMBERS)
    def take_in(self, tenant_id: uuid.UUID, numbers: list[int]) -> None:
        for number, key in zip(numbers, self.keys(tenant_id, numbers), strict=True):
            if key not in self.messages:
                raw = with_file(number) if number % 3 == 0 else mail(number)
                body = Body(tenant_id, message_id(number, tenant_id), self.now, "outbound", "email", "x", raw)
                self.area.add(body)
                self.messages[key] = Message(self.now, body.raw_message)

    @rule(crash_at=st.sampled_from([None, *HandOverStep]))
    def hand_over(self, crash_at: HandOverStep | None) -> None:
        self.crashing(
            crash_at, lambda step: hand_over(self.stores, self.area, clock=self.clock, workers=1, at_step=step)
        )
        rows = self.area.connection.execute(
            "SELECT storage_key FROM content_objects WHERE erased_at IS NULL AND form <> 'attachment'"
        ).fetchall()
        for (key,) in rows:
            self.messages[key].stored = True

    @rule(crash_at=st.sampled_from([None, *CompactionStep]))
    def compact(self, crash_at: CompactionStep | None) -> None:
        self.crashing(
            crash_at, lambda step: compact(self.stores, clock=self.clock, everything_erased=True, at_step=step)
        )

    @rule(tenant_id=TENANTS, numbers=NUMBERS)
    def delete(self, tenant_id: uuid.UUID, numbers: list[int]) -> None:
        keys = self.keys(tenant_id, numbers)
        expected = {
            key
            for key in keys
            if (m := self.messages.get(key)) and m.stored and not m.erased and not m.deleted_at and not self.held(key)
        }
        assert set(soft_delete(self.stores, tenant_id, keys, clock=self.clock)) == expected
        for key in expected:
            self.messages[key].deleted_at = self.now

    @rule(tenant_id=TENANTS, numbers=NUMBERS)
    def undelete(self, tenant_id: uuid.UUID, numbers: list[int]) -> None:
        for key in undelete(self.stores, tenant_id, self.keys(tenant_id, numbers), clock=self.clock):
            assert self.messages[key].deleted_at
            assert not self.messages[key].erased
            self.messages[key].deleted_at = None

    @rule(tenant_id=TENANTS, numbers=NUMBERS)
    def hold(self, tenant_id: uuid.UUID, numbers: list[int]) -> None:
        keys = self.keys(tenant_id, numbers)
        placed = place_hold(self.stores, self.area, tenant_id, matter="1", storage_keys=keys, clock=self.clock)
        self.holds[placed.hold_id] = set(keys) - set(placed.not_there)

    @rule()
    def release(self) -> None:
        if self.holds:
            hold_id = next(iter(self.holds))
            release_hold(self.stores, hold_id, clock=self.clock)
            del self.holds[hold_id]

    @rule(tenant_id=TENANTS, numbers=NUMBERS)
    def ask_for_erasure(self, tenant_id: uuid.UUID, numbers: list[int]) -> None:
        keys = [key for key in self.keys(tenant_id, numbers) if key in self.messages]
        if keys:
            erasure.request_erasure(self.stores, tenant_id, storage_keys=keys, clock=self.clock)
            self.erasing |= set(keys)

    @rule(crash_at=st.sampled_from([None, *ErasureStep]))
    def erase(self, crash_at: ErasureStep | None) -> None:
        self.crashing(
            crash_at, lambda step: erasure.run_erasures(self.stores, self.area, clock=self.clock, at_step=step)
        )
        self.learn_what_is_erased(self.erasing)
        for key in list(self.erasing):
            assert crash_at or self.held(key) or self.messages[key].erased
            if self.messages[key].erased:
                self.erasing.discard(key)

    def learn_what_is_erased(self, allowed: set[str]) -> None:
        """After a crash only the index knows how far it had come; never may more be gone than was asked for."""
        rows = self.area.connection.execute(
            "SELECT storage_key FROM content_objects WHERE erased_at IS NOT NULL AND form <> 'attachment'"
        ).fetchall()
        for (key,) in rows:
            if not self.messages[key].erased:
                assert key in allowed
                assert not self.held(key)
                self.messages[key].erased = True

    @rule(tenant_id=TENANTS, days=st.integers(1, 60))
    def change_policy(self, tenant_id: uuid.UUID, days: int) -> None:
        set_policy(self.stores, tenant_id, "outbound", days, clock=self.clock)
        self.keep[tenant_id] = days

    @rule(tenant_id=TENANTS, numbers=NUMBERS, days=st.sampled_from([5, 5000]))
    def put_a_label(self, tenant_id: uuid.UUID, numbers: list[int], days: int) -> None:
        set_label(self.stores, tenant_id, f"{days} days", days, clock=self.clock)
        for key in label_messages(self.stores, tenant_id, f"{days} days", self.keys(tenant_id, numbers)):
            self.labels[key] = days

    @rule(crash_at=st.sampled_from([None, *RetentionStep]))
    def retain(self, crash_at: RetentionStep | None) -> None:
        due = set()
        for key, message in self.messages.items():
            tenant_id = next(t for t in (TENANT_A, TENANT_B) if key.endswith(storage_key(t, t).partition(".")[2]))
            days = self.labels.get(key, self.keep.get(tenant_id, DEFAULT_KEEP_DAYS))
            past = message.created + timedelta(days=days) <= self.now
            purged = message.deleted_at is not None and message.deleted_at <= self.now - UNDELETE_WITHIN
            if message.stored and (past or purged) and not self.held(key):
                due.add(key)
        self.crashing(crash_at, lambda step: apply_retention(self.stores, clock=self.clock, at_step=step))
        self.learn_what_is_erased(due)
        assert crash_at or all(self.messages[key].erased for key in due)

    @rule(crash_at=st.sampled_from([None, *SweepStep]))
    def sweep(self, crash_at: SweepStep | None) -> None:
        self.crashing(crash_at, lambda step: sweep(self.stores, clock=self.clock, at_step=step))

    @rule(days=st.sampled_from([0.1, 1, 10, 40]))
    def time_passes(self, days: float) -> None:
        self.now += timedelta(days=days)

    @invariant()
    def what_must_be_readable_is_and_nothing_else(self) -> None:
        with ContentReader(self.stores, bodies=self.area) as reader:
            for key, message in self.messages.items():
                if message.erased or message.deleted_at:
                    with pytest.raises(ContentGone):
                        reader.read(key)
                else:
                    assert reader.read(key) == message.raw

    def teardown(self) -> None:
        """After the last sweep, objects and live packs are the same set, and every erasure is proven."""
        self.now += 2 * LEASE
        for _ in range(2):
            hand_over(self.stores, self.area, clock=self.clock, workers=1)
            for hold_id in self.holds:
                release_hold(self.stores, hold_id, clock=self.clock)
            self.holds.clear()
            self.erase(None)
            compact(self.stores, clock=self.clock, everything_erased=True)
            self.now += 2 * LEASE
            sweep(self.stores, clock=self.clock)
        self.erase(None)
        self.what_must_be_readable_is_and_nothing_else()
        execute = self.area.connection.execute
        live = {key for (key,) in execute("SELECT object_key FROM content_packs WHERE state = 'live'")}
        assert {entry.key for entry in self.bucket.list(PREFIX)} == live
        assert execute("SELECT count(*) FROM erasure_requests WHERE gone_at IS NULL").fetchone() == (0,)
        assert check_chain(self.stores).broken_at is None
        wrong = execute(
            "SELECT pack_id FROM content_packs AS pack WHERE state = 'live' AND messages - dead_messages <>"
            " (SELECT count(*) FROM content_objects AS o WHERE o.pack_id = pack.pack_id AND erased_at IS NULL)"
        ).fetchall()
        assert wrong == []
        unused = execute(
            "SELECT storage_key FROM shared_attachments AS shared WHERE NOT EXISTS (SELECT FROM attachment_uses AS link"
            " JOIN content_objects AS message ON message.storage_key = link.message_key"
            " WHERE link.attachment_key = shared.storage_key AND message.erased_at IS NULL)"
        ).fetchall()
        assert unused == []
        assert verify_packs(self.stores, clock=self.clock).ok

    def crashing(self, crash_at: Any, work: Callable[[Callable[[Any], None]], object]) -> None:
        def step(reached: object) -> None:
            if reached == crash_at:
                raise Crash

        try:
            work(step)
        except Crash:
            self.area.forget_owner()


def test_a_random_life_keeps_its_promises(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> None:
    ContentLife.stores = stores_of(
        clone_database("content", template_database("content", make_template)), bucket, tmp_path
    )
    ContentLife.bucket = bucket
    ContentLife.area = HandOverArea(ContentLife.stores.content_url)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        ContentLife,
        settings=settings(
            max_examples=10,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=checks,
            derandomize=True,
            database=None,
        ),
    )
    ContentLife.area.close()
