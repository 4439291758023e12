"""Mail is exported as programs for mail read it; orphans are found by listing; every message is read within N days."""

from __future__ import annotations

import dataclasses
import mailbox
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import uuid_utils.compat
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
from penguinmails.content_store.compaction import compact
from penguinmails.content_store.deletion import soft_delete
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.errors import ContentDamaged, ContentGone, ContentUnknown
from penguinmails.content_store.export import ExportScope, export_messages
from penguinmails.content_store.export_formats import Format
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.orphans import find_orphans
from penguinmails.content_store.reading import ContentReader, MessageRead
from penguinmails.content_store.retention import (
    apply_retention,
    label_messages,
    labels,
    plan_retention,
    set_label,
    set_policy,
)
from penguinmails.content_store.storage_layout import LEASE, PREFIX, PackGroup, pack_key, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.errors import InputError
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
CAMPAIGN = UUID(int=5)
QUOTED = b"From: a@example.org\r\nSubject: odd\r\n\r\nFrom here on\r\n>From there\r\nno line at the end"


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    return stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def noon() -> datetime:
    return NOON


def key(number: int) -> str:
    return storage_key(TENANT_A, message_id(number))


def store(stores: Stores, area: HandOverArea, *messages: Body) -> None:
    area.add(*messages)
    hand_over(stores, area, clock=noon)


def sql(stores: Stores, statement: str, *values: object) -> list[tuple]:
    with connect_to_index(stores.content_url) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def test_a_tenant_a_campaign_and_a_person_in_every_format(stores: Stores, area: HandOverArea, tmp_path: Path) -> None:
    odd = Body(TENANT_A, message_id(60), NOON, "inbound", "email", "lead1@example.net", QUOTED)
    store(stores, area, *bodies(12), odd, *bodies(3, tenant_id=TENANT_B))
    area.add(*bodies(15)[12:])  # still waiting
    area.connection.execute(
        "UPDATE hand_over_area.bodies SET campaign_id = %s WHERE correspondent IN ('lead2@example.net', 'lead13@example.net')"
        " AND tenant_id = %s",
        [CAMPAIGN, TENANT_A],
    )
    request_erasure(stores, TENANT_A, storage_keys=[key(4)], clock=noon)
    run_erasures(stores, area, clock=noon)
    expected = {message_id(n): mail(n) for n in range(15) if n != 4} | {message_id(60): QUOTED}

    def export(name: str, form: Format, **scope: object):
        return export_messages(stores, area, ExportScope(TENANT_A, **scope), tmp_path / name, form=form)

    whole = export("eml", Format.EML)
    assert (whole.messages, whole.size_bytes, whole.unreadable) == (15, sum(map(len, expected.values())), 0)
    assert {UUID(path.stem): path.read_bytes() for path in (tmp_path / "eml").glob("*.eml")} == expected
    assert export("eml", Format.EML).messages == 15  # a finished export starts anew
    assert export("mail", Format.MAILDIR).messages == 15
    assert len(mailbox.Maildir(tmp_path / "mail", create=False)) == 15
    assert export("all.mbox", Format.MBOX).messages == 15
    box = mailbox.mbox(tmp_path / "all.mbox", create=False)
    assert sorted(str(message["Subject"]) for message in box) == sorted(
        ["odd", *(f"Quick question {n}" for n in range(15) if n != 4)]
    )
    box.close()
    assert b"\n>From here on\n>>From there\nno line at the end\n\n" in (tmp_path / "all.mbox").read_bytes() + b"\n"
    assert export("campaign", Format.EML, campaign_id=CAMPAIGN).messages == 2
    assert sorted(path.stem for path in (tmp_path / "campaign").glob("*.eml")) == sorted(
        str(message_id(number)) for number in (2, 13)
    )
    assert export("person", Format.EML, address=" Lead1@Example.net").messages == 2
    for name, form, scope in (
        ("eml", Format.MBOX, {}),
        ("all.mbox", Format.EML, {}),
        ("all.mbox", Format.MBOX, {"address": "lead1@example.net"}),
    ):
        with pytest.raises(InputError):
            export(name, form, **scope)
    mine = tmp_path / "mine.mbox"
    mine.write_bytes(b"From me\n")
    with pytest.raises(InputError):
        export("mine.mbox", Format.MBOX)
    assert mine.read_bytes() == b"From me\n"


def test_what_cannot_be_read_is_named_and_the_rest_is_written(
    stores: Stores, area: HandOverArea, bucket: Bucket, tmp_path: Path
) -> None:
    store(stores, area, *bodies(4))
    area.connection.execute("UPDATE hand_over_area.bodies SET raw_message = NULL")
    (entry,) = bucket.list(PREFIX)
    offset = sql(stores, "SELECT frame_offset FROM content_objects WHERE storage_key = %s", key(2))[0][0]
    content = bytearray(bucket.get(entry.key))
    content[offset + 5] ^= 1
    bucket.put(entry.key, bytes(content))
    report = export_messages(stores, area, ExportScope(TENANT_A), tmp_path / "out")
    assert (report.messages, report.unreadable, report.unreadable_keys) == (3, 1, (key(2),))


def test_a_label_is_stronger_than_the_policy_and_weaker_than_a_hold(stores: Stores, area: HandOverArea) -> None:
    store(stores, area, *[dataclasses.replace(body, created=NOON - timedelta(days=100)) for body in bodies(4)])
    set_policy(stores, TENANT_A, "outbound", 50, clock=noon)
    set_label(stores, TENANT_A, "tax", 3650, clock=noon)
    set_label(stores, TENANT_A, "trial", 10, clock=noon)
    assert label_messages(stores, TENANT_A, "tax", [key(0), key(1), key(99)]) == [key(0), key(1)]
    assert label_messages(stores, TENANT_A, None, [key(1)]) == [key(1)]
    assert label_messages(stores, TENANT_A, "trial", [key(2)]) == [key(2)]
    assert [(item.label, item.messages) for item in labels(stores)] == [("tax", 1), ("trial", 1)]
    expiry = "SELECT expires_at - created_at FROM content_objects WHERE storage_key = ANY(%s) ORDER BY 1"
    assert sql(stores, expiry, [key(0), key(1), key(2)]) == [(timedelta(days=n),) for n in (10, 50, 3650)]
    assert plan_retention(stores, clock=noon).messages == 3
    assert not checking.check_expired(stores, clock=noon).ok
    set_policy(stores, TENANT_A, "outbound", 500, clock=noon)
    assert plan_retention(stores, clock=noon).messages == 1
    assert apply_retention(stores, clock=noon).messages == 1
    set_label(stores, TENANT_A, "tax", 99, clock=noon)
    assert apply_retention(stores, clock=noon).messages == 1
    assert checking.check_expired(stores, clock=noon).ok
    for wrong in ("", " x", "y" * 51):
        with pytest.raises(InputError):
            set_label(stores, TENANT_A, wrong, 5, clock=noon)
    with pytest.raises(InputError):
        label_messages(stores, TENANT_A, "unknown", [key(1)])


def test_objects_the_index_has_no_reason_to_keep(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    now = datetime.now(UTC)
    store(stores, area, *bodies(250))
    request_erasure(stores, TENANT_A, storage_keys=[key(n) for n in range(100)], clock=noon)
    run_erasures(stores, area, clock=noon)
    (old,) = [entry for entry in bucket.list(PREFIX) if entry.key.endswith(".pmpack")]
    content = bucket.get(old.key)
    compact(stores, clock=noon)
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    bucket.put(old.key, content)  # the bucket was restored from a copy
    (tomorrow, soon) = (lambda: now + timedelta(days=2)), (lambda: now + timedelta(hours=2))
    assert find_orphans(stores, clock=soon).too_young == 1
    found = find_orphans(stores, clock=tomorrow, execute=True)
    assert (found.orphans, found.not_understood, found.deleted) == ((old.key,), (), 0)
    assert "more than may go" in found.refused
    assert find_orphans(stores, clock=tomorrow, most_share=0.9).deleted == 0
    assert find_orphans(stores, clock=tomorrow, most_share=0.9, execute=True).deleted == 1
    assert find_orphans(stores, clock=tomorrow).orphans == ()

    bucket.put(old.key, content)
    stranger = pack_key(PackGroup(TENANT_B, "inbound", NOON.date().replace(day=1)), uuid_utils.compat.uuid7())
    bucket.put(stranger, b"no pack at all")
    found = find_orphans(stores, clock=tomorrow, most_share=1, execute=True)
    assert (found.orphans, found.not_understood, found.deleted) == ((old.key,), (stranger,), 0)
    assert "repair-index" in found.refused
    bucket.delete([stranger])
    sql(stores, "DELETE FROM content_objects WHERE storage_key = %s", key(200))  # an index from an old backup
    assert find_orphans(stores, clock=tomorrow, most_share=1, execute=True).not_understood == (old.key,)
    assert bucket.get(old.key) == content


def test_every_message_is_opened_within_the_days_given(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    for day in range(6):
        store(
            stores,
            area,
            *[dataclasses.replace(b, message_id=message_id(10 * day + n)) for n, b in enumerate(bodies(2))],
        )
    read = []
    for day in range(3):
        report = checking.verify_packs(stores, clock=lambda day=day: NOON + timedelta(days=1 + day), within_days=3)
        read.append(report.looked_at)
    assert read == [2, 2, 2]
    assert sql(stores, "SELECT count(*) FROM content_packs WHERE verified_at <= %s", NOON) == [(0,)]
    assert checking.check_verification(stores, clock=lambda: NOON + timedelta(days=4), within_days=3).ok
    assert checking.check_verification(stores, clock=lambda: NOON + timedelta(days=6), within_days=3).bad == 4
    # Bytes as they were stored, and yet a message that does not open: its key was exchanged.
    sql(
        stores,
        "UPDATE content_objects SET content_hash = repeat('0', 64) WHERE storage_key = %s",
        key(20),
    )
    report = checking.verify_packs(stores, clock=noon)
    assert (report.looked_at, report.bad) == (6, 1)
    assert sql(stores, "SELECT storage_key, problem FROM broken_references") == [(key(20), "ContentDamaged")]
    for path in stores.keys_folder.iterdir():
        path.unlink()
    assert checking.verify_packs(stores, clock=noon).bad == 6


def test_messages_of_one_pack_are_fetched_together_and_each_is_judged_by_itself(
    stores: Stores, area: HandOverArea, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = bodies(40)
    area.add(*known)
    hand_over(stores, area, clock=noon)
    requests = list[tuple[int, int]]()
    get_range = Bucket.get_range

    def counted(self: Bucket, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        requests.append((offset_bytes, size_bytes))
        return get_range(self, name, offset_bytes, size_bytes)

    monkeypatch.setattr(Bucket, "get_range", counted)
    names = [storage_key(TENANT_A, body.message_id) for body in known]
    with ContentReader(stores) as reader:
        found = dict(reader.read_many(names[::-1]))
    assert list(found) == names[::-1]
    assert {name: read.raw for name, read in found.items() if isinstance(read, MessageRead)} == {
        storage_key(TENANT_A, body.message_id): body.raw_message for body in known
    }
    assert len(requests) == 1
    request_erasure(stores, TENANT_A, storage_keys=[names[3]], clock=noon)
    run_erasures(stores, area, clock=noon)
    soft_delete(stores, TENANT_A, [names[5]], clock=noon)
    with connect_to_index(stores.content_url) as connection:
        [(object_key, offset)] = connection.execute(
            "SELECT object_key, frame_offset FROM content_objects JOIN content_packs USING (pack_id) WHERE storage_key = %s",
            (names[7],),
        ).fetchall()
    content = bytearray(bucket.get(object_key))
    content[offset + 9] ^= 1
    bucket.put(object_key, bytes(content))
    nobody = storage_key(TENANT_A, message_id(900))
    with ContentReader(stores, connections=1) as reader:
        found = dict(reader.read_many([*names, nobody]))
    failures = {name: type(read) for name, read in found.items() if not isinstance(read, MessageRead)}
    assert failures == {names[3]: ContentGone, names[5]: ContentGone, names[7]: ContentDamaged, nobody: ContentUnknown}
