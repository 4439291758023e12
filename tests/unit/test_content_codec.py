"""Codec, sealing, packs and names: no servers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from penguinmails.content_store import codec, message_parts, storage_layout
from penguinmails.content_store.bootstrap_dictionary import BOOTSTRAP_DICTIONARY_ID, bootstrap_dictionary
from penguinmails.content_store.bootstrap_mail import invented_mail, make_bootstrap_dictionary
from penguinmails.content_store.dictionary_training import finalize
from penguinmails.content_store.errors import ContentDamaged, ContentUnknown, PackMalformed, TenantKeyWrong
from penguinmails.content_store.keys import KeyFolder, MasterKey
from penguinmails.content_store.pack import Directory, Entry, build_pack, read_directory
from penguinmails.content_store.retention_classes import RETENTION_CLASSES, retention_class
from penguinmails.content_store.sealed_batch import UnsealedBatch, seal_batch
from penguinmails.content_store.sealed_message import SealedMessage, open_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.stack.errors import InputError, SettingsError

TENANT, OTHER = UUID(int=1), UUID(int=2)
KEY, OTHER_KEY = TenantKey(TENANT, 1, b"k" * 32), TenantKey(OTHER, 1, b"o" * 32)
DICTIONARY = bootstrap_dictionary()


def sealed(raw: bytes, number: int = 7):
    name = storage_layout.storage_key(TENANT, UUID(int=number))
    batch = UnsealedBatch(TENANT, [name], [Form.WHOLE], [raw], [len(raw)], [None], [None])
    made = seal_batch(batch, KEY, DICTIONARY)
    return SealedMessage(name, len(raw), made.content_hashes[0], made.wrapped_keys[0], made.sealed[0])


def test_the_bootstrap_dictionary_can_be_made_again() -> None:
    assert DICTIONARY.digested.dict_id == BOOTSTRAP_DICTIONARY_ID
    if zstd.zstd_version_info == (1, 5, 7):  # training differs between versions of zstd; what was made stays readable
        assert make_bootstrap_dictionary() == DICTIONARY.content


@given(st.binary(max_size=5000))
@settings(max_examples=80, deadline=None)
def test_any_bytes_survive(raw: bytes) -> None:
    assert open_message(sealed(raw), tenant_id=TENANT, key=KEY, dictionary=DICTIONARY) == raw


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
@settings(max_examples=60, deadline=None)
def test_one_altered_bit_is_noticed(place: int, bit: int) -> None:
    message = sealed(b"Subject: hello\r\n\r\nsome text " * 9)
    altered = bytearray(message.sealed)
    altered[place % len(altered)] ^= 1 << bit
    with pytest.raises(ContentDamaged):
        open_message(
            dataclasses.replace(message, sealed=bytes(altered)), tenant_id=TENANT, key=KEY, dictionary=DICTIONARY
        )


def test_a_message_opens_only_as_itself() -> None:
    message = sealed(b"text" * 100)
    other_name = storage_layout.storage_key(TENANT, UUID(int=8))
    for wrong in (
        dataclasses.replace(message, storage_key=other_name),
        dataclasses.replace(message, raw_size_bytes=401),
        dataclasses.replace(message, content_hash="0" * 64),
    ):
        with pytest.raises(ContentDamaged):
            open_message(wrong, tenant_id=TENANT, key=KEY, dictionary=DICTIONARY)
    with pytest.raises(ContentDamaged):
        open_message(message, tenant_id=OTHER, key=KEY, dictionary=DICTIONARY)
    with pytest.raises(TenantKeyWrong):
        open_message(message, tenant_id=TENANT, key=OTHER_KEY, dictionary=DICTIONARY)


def test_a_decompression_bomb_is_not_unpacked() -> None:
    bomb = codec.compress(bytes(100_000_000), DICTIONARY)
    assert len(bomb) < 20_000
    with pytest.raises(ContentDamaged):
        codec.decompress(bomb, DICTIONARY, raw_size_bytes=1000, thing="bomb")
    unsized = zstd.ZstdCompressor(3, zstd_dict=DICTIONARY.digested)
    parts = [unsized.compress(bytes(1_000_000)) for _ in range(50)]
    with pytest.raises(ContentDamaged):
        codec.decompress(b"".join([*parts, unsized.flush()])[4:], DICTIONARY, raw_size_bytes=1000, thing="bomb")
    with pytest.raises(ContentDamaged):
        codec.decompress(b"x", DICTIONARY, raw_size_bytes=codec.MAX_MESSAGE_BYTES + 1, thing="bomb")


SHORT_MAIL = (
    b"Subject: hello\r\n\r\nI hope this email finds you well. Please let me know if you have any questions.\r\n"
)


def test_other_dictionaries_and_rubbish_are_refused() -> None:
    frame = codec.compress(b"text" * 50, DICTIONARY)
    for wrong in (zstd.compress(b"text" * 50), frame[:-3], frame + b"x", b"", b"rubbish"):
        with pytest.raises(ContentDamaged):
            codec.decompress(wrong, DICTIONARY, raw_size_bytes=200, thing="frame")
    message = sealed(SHORT_MAIL)
    other = codec.Dictionary(
        1_000_001, finalize(b"what another tenant's people say" * 90, [SHORT_MAIL] * 9, 1_000_001, codec.FAST_LEVEL)
    )
    with pytest.raises(ContentDamaged):
        open_message(message, tenant_id=TENANT, key=KEY, dictionary=other)


def test_trying_harder_gives_fewer_bytes_and_the_same_message() -> None:
    messages = invented_mail(40)
    thorough_dictionary = DICTIONARY.at_level(codec.THOROUGH_LEVEL)
    assert thorough_dictionary is DICTIONARY.at_level(codec.THOROUGH_LEVEL)
    fast, thorough = ([codec.compress(raw, each) for raw in messages] for each in (DICTIONARY, thorough_dictionary))
    assert sum(map(len, thorough)) < 0.99 * sum(map(len, fast))
    for raw, frame in zip(messages, thorough, strict=True):
        assert codec.decompress(frame, DICTIONARY, raw_size_bytes=len(raw), thing="frame") == raw


def test_a_frame_costs_little_more_than_what_it_says() -> None:
    assert len(codec.compress(b"x", DICTIONARY)) <= 6  # without magic number and dictionary id; size and block remain


def test_the_codec_is_safe_under_threads() -> None:
    failures: list[object] = []

    def work(seed: int) -> None:
        for number in range(150):
            raw = (b"Subject: %d\r\n\r\n" % number) * (seed + number % 50) + os.urandom(20)
            try:
                assert open_message(sealed(raw), tenant_id=TENANT, key=KEY, dictionary=DICTIONARY) == raw
            except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the main thread
                failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def a_pack(count: int) -> tuple[bytes, Directory]:
    group = storage_layout.PackGroup(TENANT, "inbound", date(2026, 11, 1))
    messages = [sealed(b"message %d " % number * 9, number) for number in range(count)]
    entries = [
        Entry(
            UUID(int=number),
            datetime(2026, 11, 3, 4, 5, 6, 789, tzinfo=UTC),
            m.raw_size_bytes,
            len(m.sealed),
            BOOTSTRAP_DICTIONARY_ID,
        )
        for number, m in enumerate(messages)
    ]
    directory = Directory(group, uuid4(), entries)
    return build_pack(directory, [message.sealed for message in messages], KEY), directory


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_packs_directory_can_be_read_back(count: int) -> None:
    pack, directory = a_pack(count)
    assert read_directory(pack, KEY, thing="pack") == directory


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_pack_is_refused(data: st.DataObject) -> None:
    pack, directory = a_pack(3)
    cut = data.draw(st.integers(0, len(pack) - 1))
    with pytest.raises((PackMalformed, ContentDamaged)):
        read_directory(pack[:cut], KEY, thing="pack")
    place = data.draw(st.integers(0, len(pack) - 1))
    altered = pack[:place] + bytes([pack[place] ^ 1]) + pack[place + 1 :]
    with contextlib.suppress(PackMalformed, ContentDamaged):
        assert read_directory(altered, KEY, thing="pack") == directory  # a message's own bytes are its seal's affair
    with pytest.raises((PackMalformed, ContentDamaged)):
        read_directory(data.draw(st.binary(max_size=300)), KEY, thing="pack")


def test_a_pack_is_a_valid_zstd_file() -> None:
    assert zstd.decompress(a_pack(5)[0]) == b""  # four skippable frames and nothing else


@given(st.uuids(), st.uuids(), st.uuids())
def test_storage_keys(tenant: UUID, message: UUID, other: UUID) -> None:
    key = storage_layout.storage_key(tenant, message)
    assert storage_layout.ids_of(key) == (tenant, message)
    first, last = storage_layout.storage_key_bounds(message)
    assert first <= key < last
    if other != message:
        assert (other < message) == (storage_layout.storage_key(tenant, other) < key)
        assert not first <= storage_layout.storage_key(tenant, other) < last


@given(st.text(max_size=60))
def test_other_texts_are_no_storage_keys(text: str) -> None:
    with pytest.raises(ContentUnknown):
        storage_layout.ids_of(text)


def test_key_files_are_private_made_once_and_shared(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    assert folder.secret(TENANT, 1) is None
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(folder.create(TENANT, 1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert [path.name for path in folder.folder.iterdir()] == [f"{TENANT}.1.key"]
    (path,) = folder.folder.iterdir()
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="others"):
        folder.secret(TENANT, 1)
    path.chmod(0o600)
    path.write_bytes(b"not a key")
    with pytest.raises(TenantKeyWrong):
        folder.secret(TENANT, 1)


def test_a_master_key_gives_each_tenant_and_generation_its_own() -> None:
    master = MasterKey(b"m" * 32)
    assert len({master.create(TENANT, 1), master.create(TENANT, 2), master.create(OTHER, 1)}) == 3
    assert master.secret(TENANT, 1) == MasterKey(b"m" * 32).create(TENANT, 1)


def test_no_secret_shows() -> None:
    assert "kkk" not in repr(KEY)
    assert "mmm" not in repr(MasterKey(b"m" * 32))


def test_every_message_has_a_class() -> None:
    for direction in ("inbound", "outbound"):
        for kind in ("email", "bounce", "auto_reply", "warmup"):
            assert retention_class(direction, kind).name in RETENTION_CLASSES
    assert retention_class("inbound", "bounce").name == "automatic"
    assert retention_class("outbound", "warmup").name == "warmup"


MIXED = (
    b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=no-such-charset\r\n\r\ncaf\xe9\r\n"
    b"--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hi</p>\r\n"
    b'--x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--x--\r\n"
)


def test_parts_of_a_message() -> None:
    assert message_parts.headers(MIXED).endswith(b"boundary=x\r\n\r\n")
    assert message_parts.body_text(MIXED, "plain") == "café"
    assert message_parts.body_text(MIXED, "html") == "<p>hi</p>"
    assert message_parts.attachment(MIXED, 1) == message_parts.Attachment(
        "a.pdf", "application/pdf", "attachment", b"%PDF-"
    )
    with pytest.raises(InputError):
        message_parts.attachment(MIXED, 2)
    with pytest.raises(InputError):
        message_parts.body_text(b"Subject: x\r\n\r\nhi", "html")


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_parts_of_rubbish_never_crash(raw: bytes) -> None:
    message_parts.headers(raw)
    for broken in (raw, b"Content-Disposition: attachment; filename*=" + raw, b"Content-Type: text/plain; name=" + raw):
        with contextlib.suppress(InputError):
            found = message_parts.attachments(broken)
            assert not found or message_parts.may_have_attachments(broken)
        with contextlib.suppress(InputError):
            message_parts.body_text(broken, "plain")
