"""Large attachments are stored once, come back bit for bit, go with their last message, and can be kept for a time of
their own."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
    Body,
    HandOverArea,
    bodies,
    connect_to_index,
    make_template,
    message_id,
    stores_of,
)

from penguinmails.content_store import checking, pack_writer
from penguinmails.content_store.compaction import DELETE_AFTER, compact
from penguinmails.content_store.deletion import soft_delete, undelete
from penguinmails.content_store.erasure import request_erasure, run_erasures
from penguinmails.content_store.errors import ContentDamaged, ContentGone, ContentUnknown
from penguinmails.content_store.export import storage_keys
from penguinmails.content_store.hand_over import HandOverReport, hand_over
from penguinmails.content_store.holds import place_hold
from penguinmails.content_store.key_rotation import rotate_key
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.repair import repair_index
from penguinmails.content_store.retention import apply_retention, plan_retention, set_policy
from penguinmails.content_store.shared_attachments import find_attachments
from penguinmails.content_store.statistics import content_statistics
from penguinmails.content_store.storage_layout import PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
PRICES, LOGO = random.Random(1).randbytes(60_000), random.Random(2).randbytes(20_000)


def noon():
    return NOON


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    return stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def with_files(number: int, *files: bytes, ending: str = "\r\n", width: int = 76) -> bytes:
    parts = [f"--frontier{ending}Content-Type: text/plain{ending}{ending}Hello {number},{ending}see the files.{ending}"]
    for place, content in enumerate(files):
        text = base64.b64encode(content).decode()
        lines = ending.join(text[start : start + width] for start in range(0, len(text), width))
        parts.append(
            f"--frontier{ending}Content-Type: application/pdf{ending}Content-Transfer-Encoding: base64{ending}"
            f'Content-Disposition: attachment; filename="file{place}.pdf"{ending}{ending}{lines}{ending}'
        )
    head = (
        f"From: a@tenant.example{ending}To: lead{number}@example.net{ending}Subject: Files {number}{ending}"
        f"MIME-Version: 1.0{ending}Content-Type: multipart/mixed; boundary=frontier{ending}{ending}"
    )
    return (head + "".join(parts) + f"--frontier--{ending}").encode()


def body_of(number: int, raw: bytes, *, tenant_id=TENANT_A, days_ago: int = 0) -> Body:
    created = NOON - timedelta(days=days_ago)
    address = f"lead{number}@example.net"
    return Body(tenant_id, message_id(number, tenant_id), created, "outbound", "email", address, raw)


def key(number: int, tenant_id=TENANT_A) -> str:
    return storage_key(tenant_id, message_id(number, tenant_id))


def store(stores: Stores, area: HandOverArea, *messages: Body) -> HandOverReport:
    area.add(*messages)
    return hand_over(stores, area, clock=noon)


def shared(stores: Stores) -> int:
    return content_statistics(stores).shared_attachments


def sql(stores: Stores, statement: str, *values: object) -> list[tuple]:
    with connect_to_index(stores.content_url) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def test_an_attachment_is_stored_once_for_a_tenant_class_and_month(stores: Stores, area: HandOverArea) -> None:
    campaign = [body_of(number, with_files(number, PRICES, LOGO)) for number in range(20)]
    report = store(stores, area, *campaign, *bodies(30)[20:])
    assert report.messages == 30
    assert report.raw_bytes == sum(len(body.raw_message) for body in [*campaign, *bodies(30)[20:]])
    assert report.stored_bytes < 2 * (len(PRICES) + len(LOGO))
    assert shared(stores) == 2
    again = store(stores, area, *[body_of(n, with_files(n, LOGO, ending="\n", width=60)) for n in range(40, 44)])
    assert again.stored_bytes < 4_000
    assert shared(stores) == 2
    store(stores, area, body_of(50, with_files(50, LOGO), days_ago=40))
    store(stores, area, body_of(51, with_files(51, LOGO), tenant_id=TENANT_B))
    assert shared(stores) == 4
    with ContentReader(stores) as reader:
        for body in campaign:
            found = reader.read_whole(storage_key(TENANT_A, body.message_id))
            assert (found.raw, found.attachments_gone) == (body.raw_message, 0)
            assert reader.read_message_id(body.message_id) == body.raw_message
        assert reader.read(key(41)) == with_files(41, LOGO, ending="\n", width=60)
        for (name,) in sql(stores, "SELECT storage_key FROM shared_attachments"):
            with pytest.raises(ContentUnknown):  # nobody reads an attachment but through its message
                reader.read(name)
    assert len(list(storage_keys(stores))) == 36
    figures = content_statistics(stores)
    assert (figures.messages, figures.attachments) == (36, 46)
    assert [(item.messages, item.shared_attachments) for item in figures.classes] == [(36, 4)]
    assert checking.check_sample(stores, messages=500).looked_at == 36
    assert checking.verify_packs(stores, clock=noon).ok


def test_an_attachment_goes_with_the_last_message_that_uses_it(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    store(stores, area, *[body_of(number, with_files(number, PRICES, LOGO)) for number in range(3)])
    store(stores, area, body_of(3, with_files(3, LOGO)))
    assert soft_delete(stores, TENANT_A, [key(0)], clock=noon) == [key(0)]
    assert undelete(stores, TENANT_A, [key(0)], clock=noon) == [key(0)]
    hidden = [name for (name,) in sql(stores, "SELECT storage_key FROM shared_attachments")]
    assert soft_delete(stores, TENANT_A, hidden, clock=noon) == []
    assert place_hold(stores, area, TENANT_A, matter="1", storage_keys=hidden, clock=noon).messages == 0
    request_erasure(stores, TENANT_A, storage_keys=[key(0), key(1), *hidden], clock=noon)
    (state,) = run_erasures(stores, area, clock=noon)
    assert (state.messages, state.effective) == (2, True)
    assert shared(stores) == 2
    assert read_message(stores, storage_key=key(2)) == with_files(2, PRICES, LOGO)
    request_erasure(stores, TENANT_A, storage_keys=[key(2)], clock=noon)
    run_erasures(stores, area, clock=noon)
    assert shared(stores) == 1
    assert sql(stores, "SELECT count(*) FROM content_objects WHERE form = 'attachment' AND wrapped_key IS NULL") == [
        (1,)
    ]
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key(2))
    assert read_message(stores, storage_key=key(3)) == with_files(3, LOGO)
    report = compact(stores, clock=noon, everything_erased=True)
    assert (report.messages_moved, report.refused) == (1, ())  # the logo; message 3 is in a pack of its own
    sweep(stores, clock=lambda: NOON + 2 * DELETE_AFTER)
    assert all(state.gone for state in run_erasures(stores, area, clock=noon))
    assert read_message(stores, storage_key=key(3)) == with_files(3, LOGO)
    assert sum(entry.size_bytes for entry in bucket.list(PREFIX)) < len(PRICES)
    assert rotate_key(stores, TENANT_A, clock=noon).generation == 2
    assert read_message(stores, storage_key=key(3)) == with_files(3, LOGO)
    request_erasure(stores, TENANT_A, clock=noon)
    run_erasures(stores, area, clock=noon)
    assert shared(stores) == 0


def test_attachments_can_go_before_their_messages(stores: Stores, area: HandOverArea) -> None:
    store(stores, area, *[body_of(n, with_files(n, PRICES, LOGO), days_ago=15) for n in (0, 1)])
    store(stores, area, body_of(2, with_files(2, LOGO)))
    set_policy(stores, TENANT_A, "outbound", 900, attachment_keep_days=10, clock=noon)
    expires = "SELECT form, max(expires_at - created_at) FROM content_objects GROUP BY form ORDER BY form"
    assert sql(stores, expires) == [("attachment", timedelta(days=10)), ("recoded", timedelta(days=900))]
    hold = place_hold(stores, area, TENANT_A, matter="2", storage_keys=[key(0)], clock=noon)
    (due,) = plan_retention(stores, clock=noon).expired_attachments
    assert (due.attachments, due.held, hold.messages) == (1, 1, 1)
    assert apply_retention(stores, clock=noon).attachments == 0
    sql(stores, "UPDATE content_holds SET released_at = now()")
    assert plan_retention(stores, clock=noon).attachments == 1
    done = apply_retention(stores, clock=noon)
    assert (done.messages, done.attachments) == (0, 1)  # message 2 still has the right to the logo
    listed = "SELECT size_bytes, removed_at IS NOT NULL FROM attachments WHERE parent_storage_key = %s ORDER BY 1"
    assert sql(stores, listed, key(0)) == [(len(LOGO), False), (len(PRICES), True)]
    with ContentReader(stores) as reader:
        found = reader.read_whole(key(0))
        assert (found.attachments_gone, len(found.raw)) == (1, len(with_files(0, b"", LOGO)))
        assert found.raw == with_files(0, b"", LOGO)
        assert reader.read_whole(key(2)).attachments_gone == 0
    assert apply_retention(stores, clock=lambda: NOON + timedelta(days=11)).attachments == 1
    assert read_message(stores, storage_key=key(2)) == with_files(2, b"")
    assert checking.check_sample(stores, messages=50).ok


def test_an_attachment_erased_while_a_pack_is_built_is_stored_again(
    stores: Stores, area: HandOverArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(stores, area, body_of(0, with_files(0, PRICES)))
    calls = []

    def erased_right_after(*arguments):
        found = find_attachments(*arguments)
        calls.append(len(found.new))
        if len(calls) == 1:
            request_erasure(stores, TENANT_A, storage_keys=[key(0)], clock=noon)
            other = HandOverArea(stores.content_url)
            run_erasures(stores, other, clock=noon)
            other.close()
        return found

    monkeypatch.setattr(pack_writer, "find_attachments", erased_right_after)
    assert store(stores, area, body_of(1, with_files(1, PRICES))).messages == 1
    assert calls == [0, 1]
    assert read_message(stores, storage_key=key(1)) == with_files(1, PRICES)


def test_two_hand_overs_that_bring_the_same_attachment_keep_one(
    stores: Stores, area: HandOverArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored_by_another(*arguments):
        found = find_attachments(*arguments)
        monkeypatch.undo()
        other = HandOverArea(stores.content_url)
        other.add(body_of(1, with_files(1, PRICES)))
        hand_over(stores, other, clock=noon, workers=1)
        other.close()
        return found

    monkeypatch.setattr(pack_writer, "find_attachments", stored_by_another)
    area.add(body_of(0, with_files(0, PRICES)))
    hand_over(stores, area, clock=noon, workers=1)
    assert shared(stores) == 1
    assert sql(stores, "SELECT count(*) FROM content_objects WHERE erased_because = 'duplicate'") == [(1,)]
    for number in (0, 1):
        assert read_message(stores, storage_key=key(number)) == with_files(number, PRICES)
    report = compact(stores, clock=noon, everything_erased=True)
    assert (report.messages_moved, report.refused) == (1, ())
    for number in (0, 1):
        assert read_message(stores, storage_key=key(number)) == with_files(number, PRICES)


def test_a_damaged_or_exchanged_attachment_is_noticed(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    store(stores, area, body_of(0, with_files(0, PRICES, LOGO)), body_of(1, with_files(1, LOGO)), *bodies(3)[2:])
    swap = "UPDATE attachment_uses SET part = part %s"
    sql(stores, (swap % "+ 10"))
    sql(stores, "UPDATE attachment_uses SET part = 11 - part")
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key(0))
    sql(stores, "UPDATE attachment_uses SET part = 11 - part")
    assert read_message(stores, storage_key=key(0)) == with_files(0, PRICES, LOGO)
    (object_key, offset), *_ = sql(
        stores,
        "SELECT object_key, frame_offset FROM content_objects JOIN content_packs USING (pack_id)"
        " WHERE form = 'attachment' ORDER BY raw_size_bytes DESC",
    )
    content = bytearray(bucket.get(object_key))
    content[offset + 99] ^= 1
    bucket.put(object_key, bytes(content))
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key(0))
    assert read_message(stores, storage_key=key(1)) == with_files(1, LOGO)
    sql(stores, "DELETE FROM attachment_uses WHERE message_key = %s", key(1))
    with pytest.raises(ContentDamaged):
        read_message(stores, storage_key=key(1))


def test_a_restored_index_finds_attachments_again(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    store(stores, area, *[body_of(number, with_files(number, PRICES, LOGO)) for number in range(3)])
    request_erasure(stores, TENANT_A, storage_keys=[key(0)], clock=noon)
    run_erasures(stores, area, clock=noon)
    backup = sql(stores, "SELECT storage_key, pack_id, frame_offset FROM content_objects")
    packs = sql(stores, "SELECT pack_id FROM content_packs")
    compact(stores, clock=noon, everything_erased=True)
    sweep(stores, clock=lambda: NOON + 2 * DELETE_AFTER)
    for name, pack_id, offset in backup:
        sql(
            stores,
            "UPDATE content_objects SET pack_id = %s, frame_offset = %s WHERE storage_key = %s",
            *(pack_id, offset, name),
        )
    sql(stores, "DELETE FROM content_packs WHERE NOT pack_id = ANY(%s)", [pack_id for (pack_id,) in packs])
    sql(stores, "UPDATE content_packs SET state = 'live'")
    report = repair_index(stores, clock=noon, execute=True)
    assert (report.packs_added, report.messages_found_again) == (1, 4)  # two messages, two attachments
    for number in (1, 2):
        assert read_message(stores, storage_key=key(number)) == with_files(number, PRICES, LOGO)
