"""Dictionaries of tenants: trained during hand-over, stored, found again, shared, swept."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
    HandOverArea,
    bodies,
    connect_to_index,
    mail,
    make_template,
    message_id,
    stores_of,
)

from penguinmails.content_store.bootstrap_dictionary import BOOTSTRAP_DICTIONARY_ID
from penguinmails.content_store.codec import FAST_LEVEL, THOROUGH_LEVEL
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.export import storage_keys
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


def rows(stores: Stores, statement: str) -> list[tuple]:
    with connect_to_index(stores.content_url) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_big_batch_gets_its_own_dictionary_and_others_do_not(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    many, few = bodies(400), bodies(50, tenant_id=TENANT_B)
    area.add(*many, *few)
    hand_over(stores, area, clock=lambda: NOON)
    assert rows(stores, "SELECT tenant_id, generation, state FROM dictionaries") == [(TENANT_A, 1, "live")]
    used = dict(rows(stores, "SELECT tenant_id, dictionary_id FROM content_packs"))
    assert used[TENANT_A] >= 1_000_000
    assert used[TENANT_B] == BOOTSTRAP_DICTIONARY_ID
    (stored,) = [entry.key for entry in bucket.list(PREFIX) if "/dictionaries/" in entry.key]
    assert b"Quick question" not in bucket.get(stored)
    with ContentReader(stores) as reader:
        assert {reader.read(key) for key in storage_keys(stores)} == {body.raw_message for body in [*many, *few]}
    bucket.put(stored, bucket.get(stored)[::-1])
    with pytest.raises(ContentDamaged, match="dictionary"):
        read_message(stores, storage_key=storage_key(TENANT_A, message_id(1)))
    assert read_message(stores, storage_key=storage_key(TENANT_B, message_id(1, TENANT_B))) == mail(1)


def test_a_dictionary_is_kept_until_mail_drifts_away_from_it(stores: Stores, area: HandOverArea) -> None:
    def more(start: int, suffix: bytes) -> list:
        made = [dataclasses.replace(body, message_id=message_id(start + n)) for n, body in enumerate(bodies(300))]
        return [dataclasses.replace(body, raw_message=body.raw_message + suffix) for body in made]

    area.add(*more(0, b""))
    hand_over(stores, area, clock=lambda: NOON)
    area.add(*more(1000, b""))
    hand_over(stores, area, clock=lambda: NOON + timedelta(days=2))
    assert rows(stores, "SELECT count(*) FROM dictionaries") == [(1,)]
    new_words = random.Random(7).randbytes(4000)
    area.add(*more(2000, new_words))
    hand_over(stores, area, clock=lambda: NOON + timedelta(hours=1))
    assert rows(stores, "SELECT count(*) FROM dictionaries") == [(1,)]
    area.add(*more(3000, new_words))
    hand_over(stores, area, clock=lambda: NOON + timedelta(days=3))
    assert rows(stores, "SELECT generation FROM dictionaries ORDER BY 1") == [(1,), (2,)]
    with ContentReader(stores) as reader:
        assert reader.read(storage_key(TENANT_A, message_id(5))) == mail(5)
        assert reader.read(storage_key(TENANT_A, message_id(3005))) == mail(5) + new_words


def test_a_hand_over_is_thorough_with_its_first_bytes_and_fast_beyond_them(stores: Stores, bucket: Bucket) -> None:
    keys = KeyRing(key_source(stores))
    batch = [dataclasses.replace(body, raw_message=bytes(1 << 20)) for body in bodies(7)]
    with connect_to_index(stores.content_url) as connection:
        key = keys.for_writing(connection, TENANT_A, now=NOON)
        catalog = DictionaryCatalog(bucket, keys)
        levels = [
            catalog.for_writing(connection, key, each, now=NOON).level for each in (batch, batch, batch, batch[:1])
        ]
    assert levels == [THOROUGH_LEVEL, THOROUGH_LEVEL, FAST_LEVEL, FAST_LEVEL]


def test_a_dictionary_whose_training_died_is_swept(stores: Stores, area: HandOverArea, bucket: Bucket) -> None:
    area.add(*bodies(300))
    hand_over(stores, area, clock=lambda: NOON)
    rows(stores, "UPDATE dictionaries SET state = 'building'")
    sweep(stores, clock=lambda: NOON + LEASE / 2)
    assert rows(stores, "SELECT count(*) FROM dictionaries") == [(1,)]
    sweep(stores, clock=lambda: NOON + 2 * LEASE)
    assert rows(stores, "SELECT count(*) FROM dictionaries") == [(0,)]
    assert not [entry.key for entry in bucket.list(PREFIX) if "/dictionaries/" in entry.key]
