"""A tenant's key is replaced without touching a pack, and a rotation that was stopped is carried on."""

from __future__ import annotations

from pathlib import Path

import pytest
from content_support import NOON, TENANT_A, HandOverArea, bodies, mail, make_template, message_id, stores_of

from penguinmails.content_store import checking, doctor, key_rotation
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.key_rotation import rotate_key
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.steps import Step
from penguinmails.content_store.storage_layout import PREFIX, storage_key
from penguinmails.stack.object_store import Bucket

pytestmark = pytest.mark.servers


class Stop(Exception):
    pass


def test_rotation(template_database, clone_database, bucket: Bucket, tmp_path: Path, monkeypatch) -> None:
    stores = stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)
    monkeypatch.setattr(key_rotation, "_PAGE", 100)
    area = HandOverArea(stores.content_url)
    area.add(*bodies(250))
    hand_over(stores, area, clock=lambda: NOON)
    objects = {entry.key: bucket.get(entry.key) for entry in bucket.list(PREFIX)}
    steps = 0

    def stop(_step: Step) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise Stop

    with ContentReader(stores) as reader:
        with pytest.raises(Stop):
            rotate_key(stores, TENANT_A, clock=lambda: NOON, at_step=stop)
        keys = [storage_key(TENANT_A, message_id(number)) for number in range(250)]
        assert [reader.read(key) for key in keys[::10]] == [mail(number) for number in range(0, 250, 10)]
        report = rotate_key(stores, TENANT_A, clock=lambda: NOON, resume=True)
        assert (report.generation, report.messages) == (2, 150)
        assert [reader.read(key) for key in keys[::10]] == [mail(number) for number in range(0, 250, 10)]
        assert {entry.key: bucket.get(entry.key) for entry in bucket.list(PREFIX)} == objects
        assert area.connection.execute("SELECT DISTINCT key_generation FROM content_objects").fetchall() == [(2,)]
        # What was stored under the first generation is recognised, compacted and read under the second.
        area.connection.execute("UPDATE hand_over_area.bodies SET stored_at = NULL")
        assert hand_over(stores, area, clock=lambda: NOON).already_there == 250
        request_erasure(stores, TENANT_A, storage_keys=keys[:1], clock=lambda: NOON)
        run_erasures(stores, area, clock=lambda: NOON)
        assert compact(stores, clock=lambda: NOON, everything_erased=True).messages_moved == 249
        assert reader.read(keys[9]) == mail(9)
    assert checking.check_sample(stores, messages=50).ok
    assert all(finding.ok for finding in doctor.examine(stores))
    area.close()
