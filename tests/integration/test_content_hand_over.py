"""Hand-over and reading on a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
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
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.errors import (
    ContentDamaged,
    ContentGone,
    ContentMissing,
    ContentUnknown,
    TenantKeyMissing,
    TenantKeyWrong,
)
from penguinmails.content_store.export import save_all, storage_keys
from penguinmails.content_store.hand_over import HandOverReport, hand_over
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.statistics import content_statistics
from penguinmails.content_store.storage_layout import PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers


def clock() -> datetime:
    return NOON + timedelta(hours=1)


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def run(stores: Stores, area: HandOverArea, **options: object) -> HandOverReport:
    return hand_over(stores, area, clock=clock, **options)  # type: ignore[arg-type]


def key_of(number: int, tenant_id: UUID = TENANT_A) -> str:
    return storage_key(tenant_id, message_id(number, tenant_id))


def sql(stores: Stores, statement: str, *values: object) -> list[tuple]:
    with connect_to_index(stores.content_url) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def test_every_message_comes_back_bit_for_bit(stores: Stores, area: HandOverArea) -> None:
    odd = [b"", b"\0", b"From me\nno header", b"\xff\xfe" * 3000, b"a" * 3_000_000, mail(1).replace(b"\r\n", b"\n")]
    strange = [
        Body(TENANT_B, message_id(number, TENANT_B), NOON, "inbound", "email", "a@example.org", raw)
        for number, raw in enumerate(odd)
    ]
    ordinary = bodies(300)
    area.add(*ordinary, *strange)
    report = run(stores, area)
    assert (report.messages, report.refused, report.already_there, area.unstored()) == (306, 0, 0, 0)
    with ContentReader(stores) as reader:
        for body in [*ordinary, *strange]:
            assert reader.read(storage_key(body.tenant_id, body.message_id)) == body.raw_message
            assert reader.read_message_id(body.message_id) == body.raw_message


def test_a_second_run_changes_nothing(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    area.add(*bodies(50))
    run(stores, area)
    before = [entry.key for entry in bucket.list(PREFIX)]
    again = run(stores, area)
    assert (again.messages, again.packs, again.puts) == (0, 0, 0)
    assert [entry.key for entry in bucket.list(PREFIX)] == before


def test_one_pack_per_tenant_class_and_month_and_no_personal_data_in_names(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    area.add(
        *bodies(20),
        *bodies(20, tenant_id=TENANT_B, direction="inbound"),
        *[
            dataclasses.replace(body, message_id=message_id(1000 + number), created=NOON - timedelta(days=31))
            for number, body in enumerate(bodies(5))
        ],
    )
    report = run(stores, area)
    folders = sorted(entry.key.removeprefix(PREFIX).rpartition("/")[0] for entry in bucket.list(PREFIX))
    assert folders == [f"{TENANT_A}/outbound/2026-10", f"{TENANT_A}/outbound/2026-11", f"{TENANT_B}/inbound/2026-11"]
    assert report.puts == report.packs == 3


def test_nothing_readable_is_stored(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    area.add(*bodies(10))
    run(stores, area)
    for entry in bucket.list(PREFIX):
        content = bucket.get(entry.key)
        assert b"lead" not in content
        assert b"Quick question" not in content


def test_bodies_leave_after_grace_and_not_before(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(30))
    now = datetime.now(tz=NOON.tzinfo)
    assert hand_over(stores, area, clock=lambda: now).removed_from_oltp == 0
    assert area.body(message_id(3)) == mail(3)
    later = hand_over(stores, area, clock=lambda: now + timedelta(hours=25))
    assert later.removed_from_oltp == 30
    assert area.body(message_id(3)) is None
    assert read_message(stores, message_id=message_id(3)) == mail(3)


def test_a_day_is_handed_over_alone(stores: Stores, area: HandOverArea) -> None:
    yesterday = [dataclasses.replace(body, created=NOON - timedelta(days=1)) for body in bodies(4)]
    area.add(*yesterday, *bodies(6, tenant_id=TENANT_B))
    assert run(stores, area, day=(NOON - timedelta(days=1)).date()).messages == 4
    assert area.unstored() == 6


def test_what_the_oltp_tier_did_not_learn_is_not_stored_twice(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(25))
    run(stores, area)
    area.connection.execute("UPDATE hand_over_area.bodies SET stored_at = NULL, storage_key = NULL")
    report = run(stores, area)
    assert (report.messages, report.already_there, report.packs, area.unstored()) == (0, 25, 0, 0)
    assert next(area.storage_keys())[0][2].count(".") == 1


def test_two_hand_overs_at_once_share_the_work(stores: Stores, area: HandOverArea, monkeypatch) -> None:
    monkeypatch.setattr("penguinmails.content_store.hand_over.CLAIM_MESSAGES", 20)
    area.add(*bodies(400))
    reports: list[HandOverReport] = []

    def other() -> None:
        own = HandOverArea(stores.content_url)
        reports.append(run(stores, own))
        own.close()

    threads = [threading.Thread(target=other) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.messages for report in reports) == 400
    assert sql(
        stores, "SELECT count(*), sum(dead_messages) FROM content_packs JOIN content_objects USING (pack_id)"
    ) == [(400, 0)]
    assert len(list(storage_keys(stores))) == 400
    assert area.unstored() == 0


def test_an_unknown_key_is_an_error_and_a_waiting_message_is_read_where_it_waits(
    stores: Stores, area: HandOverArea
) -> None:
    area.add(*bodies(1))
    assert read_message(stores, message_id=message_id(0), bodies=area) == mail(0)
    assert read_message(stores, storage_key=key_of(0), bodies=area) == mail(0)
    with pytest.raises(ContentUnknown):
        read_message(stores, message_id=message_id(0))
    for wrong in ("", "nonsense", "a.b", key_of(0).upper(), "é.é"):
        with pytest.raises(ContentUnknown):
            read_message(stores, storage_key=wrong)


def test_a_lost_object_is_read_from_the_hand_over_area_during_grace_and_recorded_after(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    area.add(*bodies(3))
    run(stores, area)
    bucket.delete([entry.key for entry in bucket.list(PREFIX)])
    assert read_message(stores, storage_key=key_of(1), bodies=area) == mail(1)
    assert content_statistics(stores).broken_references == 0
    area.connection.execute("UPDATE hand_over_area.bodies SET raw_message = NULL")
    with pytest.raises(ContentMissing):
        read_message(stores, storage_key=key_of(1), bodies=area)
    assert sql(stores, "SELECT storage_key, problem FROM broken_references") == [(key_of(1), "ContentMissing")]


def test_an_altered_frame_is_found_and_the_others_stay_readable(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    area.add(*bodies(5))
    run(stores, area)
    (entry,) = bucket.list(PREFIX)
    offset = sql(stores, "SELECT frame_offset FROM content_objects WHERE storage_key = %s", key_of(2))[0][0]
    content = bytearray(bucket.get(entry.key))
    content[offset + 5] ^= 1
    bucket.put(entry.key, bytes(content))
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key_of(2))
    assert read_message(stores, storage_key=key_of(3)) == mail(3)
    assert not checking.verify_packs(stores, clock=clock).ok
    assert checking.check_sample(stores, messages=50).bad == 1


def test_a_frame_moved_to_another_message_or_tenant_does_not_open(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(2), *bodies(2, tenant_id=TENANT_B))
    run(stores, area)
    take = (
        "UPDATE content_objects AS mine SET (pack_id, frame_offset, compressed_size_bytes, raw_size_bytes, wrapped_key,"
        " content_hash) = (SELECT pack_id, frame_offset, compressed_size_bytes, raw_size_bytes, wrapped_key, content_hash"
        " FROM content_objects WHERE storage_key = %s) WHERE storage_key = %s"
    )
    sql(stores, take, key_of(0), key_of(1))
    sql(stores, take, key_of(0), key_of(1, TENANT_B))
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key_of(1))
    with pytest.raises(TenantKeyWrong):
        read_message(stores, storage_key=key_of(1, TENANT_B))
    assert read_message(stores, storage_key=key_of(0)) == mail(0)


def test_a_lost_or_exchanged_key_is_named_and_never_replaced(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(2), *bodies(2, tenant_id=TENANT_B))
    run(stores, area)
    kept = {path.name: path.read_bytes() for path in stores.keys_folder.iterdir()}
    assert oct(stores.keys_folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in stores.keys_folder.iterdir()} == {"600"}
    file_a, file_b = (stores.keys_folder / f"{tenant}.1.key" for tenant in (TENANT_A, TENANT_B))
    file_a.unlink()
    file_b.write_bytes(kept[f"{TENANT_B}.1.key"][::-1].strip()[1:] + b"=")
    file_b.write_bytes(b"A" * 43 + b"=")
    with pytest.raises(TenantKeyMissing):
        read_message(stores, storage_key=key_of(0))
    with pytest.raises(TenantKeyWrong):
        read_message(stores, storage_key=key_of(0, TENANT_B))
    other = UUID("01900000-0000-7000-8000-00000000000c")
    area.add(*[dataclasses.replace(body, message_id=message_id(900 + n)) for n, body in enumerate(bodies(3))])
    area.add(*bodies(4, tenant_id=other))
    report = run(stores, area)
    assert (report.messages, report.refused, len(report.problems)) == (4, 3, 1)
    assert not file_a.exists()
    assert area.unstored() == 3
    for name, content in kept.items():
        (stores.keys_folder / name).write_bytes(content)
        (stores.keys_folder / name).chmod(0o600)
    assert run(stores, area).messages == 3
    assert read_message(stores, storage_key=key_of(0)) == mail(0)


def test_an_erased_message_is_gone_and_is_not_stored_again(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(2))
    run(stores, area)
    sql(
        stores,
        "UPDATE content_objects SET erased_at = now(), erased_because = 'erasure', wrapped_key = NULL,"
        " content_hash = NULL WHERE storage_key = %s",
        key_of(0),
    )
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key_of(0), bodies=area)
    area.connection.execute("UPDATE hand_over_area.bodies SET stored_at = NULL")
    assert run(stores, area).already_there == 2
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key_of(0))


def test_other_logins_see_only_the_tenant_they_name(
    stores: Stores, area: HandOverArea, servers, clone_database: Callable[..., object]
) -> None:
    area.add(*bodies(3), *bodies(2, tenant_id=TENANT_B))
    run(stores, area)
    sql(stores, "GRANT USAGE ON SCHEMA public TO penguinmails_app")
    sql(stores, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO penguinmails_app")
    database = sql(stores, "SELECT current_database()")[0][0]
    sql(stores, f'GRANT CONNECT ON DATABASE "{database}" TO penguinmails_app')
    tables = ["content_objects", "content_packs", "attachments", "dictionaries", "tenant_keys", "broken_references"]
    url = servers.postgres_url(database, login="penguinmails_app").get_secret_value()
    with psycopg.connect(url, autocommit=True) as other:
        assert [other.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables] == [(0,)] * 6
        other.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(TENANT_B)])
        assert other.execute("SELECT DISTINCT tenant_id FROM content_objects").fetchall() == [(TENANT_B,)]
        assert other.execute("SELECT count(*) FROM content_packs").fetchone() == (1,)
    assert (
        sql(
            stores,
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND NOT relrowsecurity AND relname <> 'schema_version'",
        )
        == []
    )


def test_figures_checks_and_export_agree(stores: Stores, area: HandOverArea, tmp_path: Path) -> None:
    area.add(*bodies(120), *bodies(30, tenant_id=TENANT_B, direction="inbound"))
    run(stores, area)
    figures = content_statistics(stores)
    assert (figures.messages, figures.packs, figures.tenants, figures.dead_bytes) == (150, 2, 2, 0)
    assert figures.raw_bytes == sum(len(body.raw_message) for body in [*bodies(120), *bodies(30)])
    assert {item.retention_class: item.messages for item in figures.classes} == {"outbound": 120, "inbound": 30}
    reports = [
        checking.check_references(stores, area),
        checking.check_packs(stores),
        checking.check_orphans(stores, clock=clock),
        checking.check_sample(stores),
        checking.verify_packs(stores, clock=clock),
    ]
    assert all(report.ok for report in reports), reports
    assert [report.looked_at for report in reports[:2]] == [150, 2]
    saved = save_all(stores, tmp_path / "out", tenant_id=TENANT_B)
    assert saved.messages == 30
    assert (tmp_path / "out" / str(TENANT_B) / f"{message_id(7, TENANT_B)}.eml").read_bytes() == mail(7)
    sql(stores, "DELETE FROM content_objects WHERE storage_key = %s", key_of(5))
    assert checking.check_references(stores, area).examples == (key_of(5),)


def test_a_failed_store_leaves_nothing_claimed_and_nothing_behind(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    area.add(*bodies(10))
    nowhere = dataclasses.replace(stores, bucket=dataclasses.replace(stores.bucket, name="does-not-exist"))
    with pytest.raises(Exception, match="object"):
        run(nowhere, area)
    assert sql(stores, "SELECT state FROM content_packs") == [("condemned",)]
    assert run(stores, area).messages == 10
    assert sweep(stores, clock=lambda: clock() + timedelta(hours=2)).packs_deleted == 1
    assert len(list(bucket.list(PREFIX))) == 1


def test_attachments_are_listed_and_go_with_their_message(stores: Stores, area: HandOverArea) -> None:
    raw = (
        b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b'--x\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment; filename="a.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n"
        b'--x\r\nContent-Type: image/png\r\nContent-Disposition: inline; filename="b\xff\x00.png"\r\n\r\n12345\r\n--x--\r\n'
    )
    area.add(*bodies(3), Body(TENANT_A, message_id(50), NOON, "inbound", "email", "a@example.org", raw))
    run(stores, area)
    assert read_message(stores, storage_key=key_of(50)) == raw
    listed = sql(
        stores, "SELECT parent_storage_key, mime_type, size_bytes, storage_disposition FROM attachments ORDER BY 2"
    )
    assert listed == [(key_of(50), "application/pdf", 5, "attachment"), (key_of(50), "image/png", 5, "inline")]
    area.connection.execute("UPDATE hand_over_area.bodies SET stored_at = NULL")
    run(stores, area)
    assert content_statistics(stores).attachments == 2
    request_erasure(stores, TENANT_A, storage_keys=[key_of(50)], clock=clock)
    run_erasures(stores, area, clock=clock)
    assert content_statistics(stores).attachments == 0
