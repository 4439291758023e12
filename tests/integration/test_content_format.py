"""docs/content-format.md is enough to read what this tier writes: a second reader, made from it alone, does."""

from __future__ import annotations

import base64
import dataclasses
import random
from pathlib import Path

import content_second_reader as second
import pytest
from content_support import NOON, TENANT_A, HandOverArea, bodies, connect_to_index, make_template, stores_of

from penguinmails.content_store.hand_over import hand_over
from penguinmails.stack.object_store import Bucket

pytestmark = pytest.mark.servers
SHIPPED = Path(__file__).resolve().parents[2] / "content_store" / "dictionaries" / "bootstrap-3.zdict"


@pytest.mark.parametrize("count", [20, 250])  # with the shipped dictionary, and with one of the tenant's own
def test_a_second_reader_reads_every_message(
    template_database, clone_database, bucket: Bucket, tmp_path: Path, count: int
) -> None:
    stores = stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)
    area = HandOverArea(stores.content_url)
    messages = {body.message_id.bytes: body for body in bodies(count)}
    area.add(*messages.values())
    hand_over(stores, area, clock=lambda: NOON)
    area.close()
    secret = base64.b64decode((stores.keys_folder / f"{TENANT_A}.1.key").read_bytes())
    with connect_to_index(stores.content_url) as connection:
        (object_key,) = connection.execute("SELECT object_key FROM content_packs").fetchone()
        rows = {
            key: (wrapped, digest)
            for key, wrapped, digest in connection.execute(
                "SELECT storage_key, wrapped_key, content_hash FROM content_objects"
            )
        }
    pack = bucket.get(object_key)
    found = second.directory(pack, secret)
    assert (found["tenant_id"], found["generation"], found["messages"]) == (TENANT_A, 1, count)
    assert (found["retention_class"], found["ingest_month"]) == ("outbound", "2026-11")
    for entry in found["entries"]:
        wrapped, digest = rows.pop(second.storage_key(entry[0], TENANT_A))
        number = entry[4]
        if number == 32771:
            words = SHIPPED.read_bytes()
        else:
            sealed = bucket.get(f"content/v1/{TENANT_A}/dictionaries/{number}.sealed")
            words = second.dictionary(sealed, TENANT_A, secret, number)
        raw = second.message(pack, entry, TENANT_A, secret, wrapped, words)
        assert raw == messages[entry[0]].raw_message
        assert second.content_hash(secret, raw) == digest
        assert entry[1] == int(NOON.timestamp() * 1_000_000)
    assert rows == {}


def test_a_second_reader_puts_recoded_messages_together(
    template_database, clone_database, bucket: Bucket, tmp_path: Path
) -> None:
    stores = stores_of(clone_database("content", template_database("content", make_template)), bucket, tmp_path)
    area = HandOverArea(stores.content_url)
    files = [random.Random(number).randbytes(20_000) for number in range(2)]
    encoded = [base64.encodebytes(content).replace(b"\n", b"\r\n") for content in files]
    header = b"Content-Transfer-Encoding: base64\r\n\r\n"
    small = base64.b64encode(b"a text that is short enough to stay where it is, " * 5)
    encoded[1:1] = [small[:-90] + b"\r\n" + small[-90:] + b"\r\n"]
    raw = b"Subject: two files\r\n\r\n--x\r\n" + b"--x\r\n".join(header + text for text in encoded) + b"--x--\r\n"
    area.add(dataclasses.replace(bodies(1)[0], raw_message=raw))
    hand_over(stores, area, clock=lambda: NOON)
    area.close()
    secret = base64.b64decode((stores.keys_folder / f"{TENANT_A}.1.key").read_bytes())
    with connect_to_index(stores.content_url) as connection:
        (object_key,) = connection.execute("SELECT object_key FROM content_packs").fetchone()
        rows = connection.execute("SELECT storage_key, wrapped_key, content_hash, form FROM content_objects").fetchall()
        links = connection.execute("SELECT part, attachment_key FROM attachment_uses ORDER BY part").fetchall()
    pack = bucket.get(object_key)
    by_name = {name: rest for name, *rest in rows}
    opened, hashes = {}, {}
    for entry in second.directory(pack, secret)["entries"]:
        name = second.storage_key(entry[0], TENANT_A)
        wrapped, digest, form = by_name[name]
        opened[name] = second.message(pack, entry, TENANT_A, secret, wrapped, SHIPPED.read_bytes(), form)
        hashes[form] = digest
    assert [opened[name] for _, name in links] == files
    (recoded,) = [opened[name] for name, _, _, form in rows if form == "recoded"]
    assert b"short enough to stay where it is" in recoded
    assert second.joined(recoded, [opened[name] for _, name in links]) == raw
    assert second.content_hash(secret, raw) == hashes["recoded"]
