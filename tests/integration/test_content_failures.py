"""A bucket without rights, a full disk, a bad line, very small and very big mail: typed errors, and nothing is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from content_proxy import Faults, proxy_before
from content_support import (
    NOON,
    TENANT_A,
    Body,
    HandOverArea,
    bodies,
    connect_to_index,
    mail,
    make_template,
    message_id,
    stores_of,
)

from penguinmails.content_store import checking
from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.bucket_probe import probe_bucket
from penguinmails.content_store.dictionary_leaks import check_dictionaries
from penguinmails.content_store.errors import ContentDamaged, PackMalformed
from penguinmails.content_store.export import ExportScope, export_messages
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.keys import KeyFolder
from penguinmails.content_store.pack import read_directory
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.statistics import content_statistics
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.errors import InputError, SettingsError
from penguinmails.stack.object_store import Bucket, ObjectStoreUnavailable
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
DENIED = (403, "AccessDenied")
FULL = (507, "InsufficientStorage")


@pytest.fixture
def direct(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    return stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)


@pytest.fixture
def proxied(direct: Stores) -> Iterator[tuple[Stores, Faults]]:
    with proxy_before(str(direct.bucket.endpoint_url)) as (url, faults):
        yield dataclasses.replace(direct, bucket=dataclasses.replace(direct.bucket, endpoint_url=url)), faults


@pytest.fixture
def area(direct: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(direct.content_url)
    yield area
    area.close()


def noon():
    return NOON


def key(number: int) -> str:
    return storage_key(TENANT_A, message_id(number))


@pytest.mark.parametrize("fault", [DENIED, FULL])
def test_a_bucket_that_takes_nothing(proxied, area: HandOverArea, bucket: Bucket, fault: tuple[int, str]) -> None:
    stores, faults = proxied
    area.add(*bodies(5))
    faults.refuse["PUT"] = fault
    with pytest.raises(ObjectStoreUnavailable) as refused:
        hand_over(stores, area, clock=noon)
    assert PREFIX in refused.value.thing
    assert fault[1] in refused.value.problem
    assert refused.value.remedy
    assert (area.unstored(), list(bucket.list(PREFIX))) == (5, [])
    assert read_message(stores, storage_key=key(1), bodies=area) == mail(1)
    faults.refuse.clear()
    assert hand_over(stores, area, clock=noon).messages == 5
    assert read_message(stores, storage_key=key(1)) == mail(1)


def test_a_bucket_that_may_not_be_read_or_emptied(proxied, area: HandOverArea) -> None:
    stores, faults = proxied
    area.add(*bodies(5))
    hand_over(stores, area, clock=noon)
    faults.refuse["GET"] = DENIED
    assert read_message(stores, storage_key=key(1), bodies=area) == mail(1)
    with pytest.raises(ObjectStoreUnavailable):
        read_message(stores, storage_key=key(1))
    with pytest.raises(ObjectStoreUnavailable):  # away is not broken: nothing is recorded, nothing is repaired
        checking.verify_packs(stores, clock=noon)
    assert content_statistics(stores).broken_references == 0
    with pytest.raises(ObjectStoreUnavailable):
        probe_bucket(open_bucket(stores))
    area.add(*[dataclasses.replace(body, message_id=message_id(100 + n)) for n, body in enumerate(bodies(2))])
    with pytest.raises(ObjectStoreUnavailable):  # what cannot be read back is not stored
        hand_over(stores, area, clock=noon)
    faults.refuse = {"POST": DENIED}
    with pytest.raises(ObjectStoreUnavailable):
        sweep(stores, clock=lambda: NOON + 2 * LEASE)
    faults.refuse.clear()
    assert sweep(stores, clock=lambda: NOON + 2 * LEASE).packs_deleted <= 1
    assert hand_over(stores, area, clock=noon).messages == 2


def test_a_bad_line(proxied, area: HandOverArea) -> None:
    stores, faults = proxied
    area.add(*bodies(5))
    faults.alter.add("GET")
    with pytest.raises(ContentDamaged):
        hand_over(stores, area, clock=noon)
    assert area.unstored() == 5
    faults.alter.clear()
    hand_over(stores, area, clock=noon)
    faults.alter.add("GET")
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key(1))
    faults.alter.clear()
    faults.cut.add("GET")
    with pytest.raises(ObjectStoreUnavailable):
        read_message(stores, storage_key=key(1))
    faults.cut.clear()
    assert read_message(stores, storage_key=key(1)) == mail(1)


def test_one_read_is_one_ranged_get(proxied, area: HandOverArea) -> None:
    stores, faults = proxied
    area.add(*bodies(300))
    report = hand_over(stores, area, clock=noon)
    assert (report.messages, report.puts) == (300, 1)
    with ContentReader(stores) as reader:
        reader.read(key(0))  # the tenant's dictionary too, once
        faults.requests.clear()
        for number in range(1, 11):
            assert reader.read(key(number)) == mail(number)
    assert faults.requests == ["GET"] * 10
    with connect_to_index(stores.content_url) as connection:  # noted when the reader closed, all at once
        assert connection.execute(
            "SELECT count(*) FROM content_objects WHERE last_accessed_at IS NOT NULL"
        ).fetchone() == (11,)


def test_nothing_and_a_hundred_megabytes(direct: Stores, area: HandOverArea) -> None:
    huge = b"Subject: huge\r\n\r\n" + b"all work and no play\r\n" * (100_000_000 // 22)
    for number, raw in enumerate((b"", huge)):
        area.add(Body(TENANT_A, message_id(number), NOON, "inbound", "email", "a@example.org", raw))
    assert hand_over(direct, area, clock=noon).messages == 2
    assert read_message(direct, storage_key=key(0)) == b""
    assert read_message(direct, storage_key=key(1)) == huge


def test_a_truncated_pack_keeps_what_is_left_readable(direct: Stores, area: HandOverArea, bucket: Bucket) -> None:
    area.add(*bodies(6))
    hand_over(direct, area, clock=noon)
    area.connection.execute("UPDATE hand_over_area.bodies SET raw_message = NULL")
    (entry,) = bucket.list(PREFIX)
    whole = bucket.get(entry.key)
    with connect_to_index(direct.content_url) as connection:
        places = connection.execute(
            "SELECT storage_key, frame_offset FROM content_objects ORDER BY frame_offset"
        ).fetchall()
    bucket.put(entry.key, whole[: places[3][1] + 5])
    with ContentReader(direct) as reader:
        for name, _ in places[:3]:
            assert reader.read(name)
        for name, _ in places[3:]:
            with pytest.raises(ContentDamaged):
                reader.read(name)
    assert not checking.check_packs(direct).ok
    assert content_statistics(direct).broken_references == 3
    for size in (0, 7, 60, len(whole) - 1):
        with pytest.raises((PackMalformed, ContentDamaged)):
            read_directory(whole[:size], None, thing="pack")  # type: ignore[arg-type]
    bucket.put(entry.key, whole)
    assert checking.verify_packs(direct, clock=noon).ok


def test_a_full_disk_where_keys_and_exports_go(direct: Stores, area: HandOverArea, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(SettingsError) as refused:
        KeyFolder(blocked / "keys").create(TENANT_A, 1)
    assert str(TENANT_A) in refused.value.thing
    area.add(*bodies(1))
    with pytest.raises(InputError) as unwritten:
        export_messages(direct, area, ExportScope(TENANT_A), blocked / "out")
    assert str(blocked) in unwritten.value.thing


def test_the_look_for_leaks_finds_one(direct: Stores, area: HandOverArea, monkeypatch: pytest.MonkeyPatch) -> None:
    area.add(*bodies(300))
    hand_over(direct, area, clock=noon)
    report = check_dictionaries(direct, clock=noon)
    assert (report.looked_at, report.bad) == (1, 0)
    monkeypatch.setattr(
        "penguinmails.content_store.dictionary_leaks._telling", lambda reader, name: iter([b"Quick question"])
    )
    assert check_dictionaries(direct, clock=lambda: NOON + timedelta(days=9)).bad == 1
