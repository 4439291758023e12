"""What older versions wrote is read for ever: packs, frames and shipped dictionaries of the past, kept in tests/golden."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from uuid import UUID

import content_second_reader as second
import orjson
import pytest

from penguinmails.content_store.bootstrap_dictionary import shipped_dictionary
from penguinmails.content_store.pack import Directory, build_pack, read_directory
from penguinmails.content_store.recoded_message import Recipe
from penguinmails.content_store.sealed_message import SealedMessage, must_be_what_was_stored, open_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.storage_layout import storage_key

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = orjson.loads((FOLDER / "pack-version-1.json").read_bytes())
TENANT = UUID(GOLDEN["tenant_id"])
SECRET, PACK = base64.b64decode(GOLDEN["tenant_key"]), base64.b64decode(GOLDEN["pack"])
MESSAGES = {UUID(message["message_id"]): message for message in GOLDEN["messages"]}
BYTES_OF_SHIPPED = {
    32_769: "042ab4e1fbd4d6664e6cc35f806bdd479fc7ea0281702c179ccc77167bcf597c",
    32_770: "ce5b40715d8ed057a88149cb54d7f8f0198c1ab55ee9eab7f76e7681448f25f5",
    32_771: "4d6cc245a843d2cf35fe49d49fa7f7f2b4fcef3a20b31b66068892b486b441ed",
}


@pytest.mark.parametrize("dictionary_id", BYTES_OF_SHIPPED)
def test_a_shipped_dictionary_never_changes(dictionary_id: int) -> None:
    """Messages are stored with it: make a better one under a new id, and keep this one."""
    shipped = shipped_dictionary(dictionary_id)
    assert shipped is not None
    assert shipped.digested.dict_id == dictionary_id
    assert hashlib.sha256(shipped.content).hexdigest() == BYTES_OF_SHIPPED[dictionary_id]


def test_a_pack_of_the_first_version_is_read() -> None:
    key = TenantKey(TENANT, 1, SECRET)
    directory = read_directory(PACK, key, thing="pack")
    assert open_all(PACK, directory, key) == raw_messages()
    assert {entry.created_at.isoformat() for entry in directory.entries} == {GOLDEN["created_at"]}


def test_its_messages_are_read_from_a_pack_of_the_newest_version() -> None:
    """Compaction copies sealed messages as they are."""
    key = TenantKey(TENANT, 1, SECRET)
    directory = read_directory(PACK, key, thing="pack")
    sealed = [
        PACK[offset : offset + entry.sealed_size_bytes]
        for entry, offset in zip(directory.entries, directory.offsets(), strict=True)
    ]
    rewritten = build_pack(directory, sealed, key)
    assert rewritten != PACK
    assert read_directory(rewritten, key, thing="pack") == directory
    assert open_all(rewritten, directory, key) == raw_messages()
    assert [raw for _, raw in read_a_second_time(rewritten)] == list(raw_messages().values())


def test_the_second_reader_reads_it_too() -> None:
    assert dict(read_a_second_time(PACK)) == raw_messages()


def test_a_split_message_is_put_together() -> None:
    """The form before `recoded`; both readers."""
    golden = orjson.loads((FOLDER / "split-message.json").read_bytes())
    tenant_id, secret = UUID(golden["tenant_id"]), base64.b64decode(golden["tenant_key"])
    key, dictionary = TenantKey(tenant_id, 1, secret), shipped_dictionary(golden["dictionary_id"])
    assert dictionary is not None
    messages = [
        SealedMessage(
            each["storage_key"],
            each["raw_size_bytes"],
            each["content_hash"],
            base64.b64decode(each["wrapped_key"]),
            base64.b64decode(each["sealed"]),
            Form(each["form"]),
        )
        for each in golden["sealed"]
    ]
    recipe, *attachments = (
        open_message(message, tenant_id=tenant_id, key=key, dictionary=dictionary) for message in messages
    )
    assert isinstance(recipe, Recipe)
    raw = recipe.join([content for content in attachments if isinstance(content, bytes)])
    must_be_what_was_stored(raw, messages[0], key)
    split, *again = [
        second.opened(
            *(each.sealed, each.storage_key, each.raw_size_bytes, tenant_id, secret, each.wrapped_key),
            *(dictionary.dictionary_id, dictionary.content, each.form),
        )
        for each in messages
    ]
    assert again == attachments
    assert second.joined_split(split, again) == raw


def raw_messages() -> dict[UUID, bytes]:
    return {name: base64.b64decode(message["raw"]) for name, message in MESSAGES.items()}


def open_all(pack: bytes, directory: Directory, key: TenantKey) -> dict[UUID, bytes]:
    opened = {}
    for entry, offset in zip(directory.entries, directory.offsets(), strict=True):
        golden, dictionary = MESSAGES[entry.message_id], shipped_dictionary(entry.dictionary_id)
        assert dictionary is not None
        message = SealedMessage(
            storage_key(TENANT, entry.message_id),
            entry.raw_size_bytes,
            golden["content_hash"],
            base64.b64decode(golden["wrapped_key"]),
            pack[offset : offset + entry.sealed_size_bytes],
        )
        opened[entry.message_id] = open_message(message, tenant_id=TENANT, key=key, dictionary=dictionary)
    return opened


def read_a_second_time(pack: bytes) -> list[tuple[UUID, bytes]]:
    found = []
    for entry in second.directory(pack, SECRET)["entries"]:
        name, dictionary = UUID(bytes=entry[0]), shipped_dictionary(entry[4])
        assert dictionary is not None
        wrapped = base64.b64decode(MESSAGES[name]["wrapped_key"])
        found.append((name, second.message(pack, entry, TENANT, SECRET, wrapped, dictionary.content)))
    return found
