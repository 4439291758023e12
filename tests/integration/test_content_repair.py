"""The index restored from an old backup is brought up to the packs."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from content_support import NOON, TENANT_A, HandOverArea, bodies, make_template, message_id, stores_of

from penguinmails.content_store import checking
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.errors import ContentGone, ContentMissing
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.repair import repair_index
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket

pytestmark = pytest.mark.servers
TABLES = ("content_packs", "content_objects", "dictionaries")


def test_a_restored_index_finds_moved_messages_again(
    template_database, clone_database, bucket: Bucket, tmp_path: Path
) -> None:
    stores = stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)
    area = HandOverArea(stores.content_url)
    execute = area.connection.execute
    messages = bodies(12)
    area.add(*messages)
    hand_over(stores, area, clock=lambda: NOON)
    keys = [storage_key(TENANT_A, body.message_id) for body in messages]
    request_erasure(stores, TENANT_A, storage_keys=keys[:1], clock=lambda: NOON)
    run_erasures(stores, area, clock=lambda: NOON)
    for table in TABLES:
        execute(f"CREATE TABLE backup_{table} AS SELECT * FROM {table}")

    request_erasure(stores, TENANT_A, storage_keys=keys[1:5], clock=lambda: NOON)
    run_erasures(stores, area, clock=lambda: NOON)
    compact(stores, clock=lambda: NOON, everything_erased=True)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    newer = [dataclasses.replace(body, message_id=message_id(100 + n)) for n, body in enumerate(bodies(300))]
    area.add(*newer)
    hand_over(stores, area, clock=lambda: NOON)

    execute("TRUNCATE content_packs, content_objects, dictionaries CASCADE")
    for table in TABLES:
        execute(f"INSERT INTO {table} SELECT * FROM backup_{table}")
    with ContentReader(stores) as reader:
        with pytest.raises(ContentMissing):
            reader.read(keys[7])
        plan = repair_index(stores, clock=lambda: NOON)
        assert (plan.packs_added, plan.messages_found_again, plan.messages_without_key) == (1, 7, 300)
        with pytest.raises(ContentMissing):
            reader.read(keys[7])
        objects = {entry.key for entry in bucket.list(PREFIX)}
        done = repair_index(stores, clock=lambda: NOON, execute=True)
        assert (done.packs_added, done.messages_found_again, done.dictionaries_added) == (1, 7, 1)
        for body, key in list(zip(messages, keys, strict=True))[5:]:
            assert reader.read(key) == body.raw_message
        with pytest.raises(ContentGone):
            reader.read(keys[0])
        with pytest.raises(ContentMissing):  # erased after the backup: its bytes are gone, whatever the index says
            reader.read(keys[1])
    again = repair_index(stores, clock=lambda: NOON, execute=True)
    assert (again.packs_added, again.messages_found_again, again.dictionaries_added) == (0, 0, 0)
    assert {entry.key for entry in bucket.list(PREFIX)} == objects  # nothing is deleted on doubt
    assert checking.check_references(stores, area).bad == 300
    sweep(stores, clock=lambda: NOON + timedelta(days=2))
    area.close()
