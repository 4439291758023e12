"""A second reader of packs, written from docs/content-format.md alone: it imports nothing of this project."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from uuid import UUID

from backports import zstd
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

ZEROS = bytes(12)


def hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def frames(pack: bytes) -> dict[int, tuple[int, bytes]]:
    """Magic number of each skippable frame, with the offset of its payload and the payload."""
    found, place = {}, 0
    while place < len(pack):
        magic, size = struct.unpack_from("<II", pack, place)
        found[magic] = (place + 8, pack[place + 8 : place + 8 + size])
        place += 8 + size
    assert place == len(pack)
    return found


def directory(pack: bytes, tenant_secret: bytes) -> dict:
    parts = frames(pack)
    header = parts[0x184D2A50][1]
    magic, version, tenant, pack_id, generation = struct.unpack("<6sH16s16sI", header)
    assert magic == b"PMPACK"
    assert version in (1, 2)
    offset, size, *ending = struct.unpack("<QQ6sH", pack[-24:])
    assert ending == [magic, version]
    sealed = pack[offset + 8 : offset + 8 + size]
    assert sealed == parts[0x184D2A52][1]
    key = hkdf(tenant_secret, b"penguinmails pack directory v1", pack_id)
    plain = zstd.decompress(AESGCM(key).decrypt(ZEROS, sealed, header))
    (length,) = struct.unpack_from("<I", plain)
    about = json.loads(plain[4 : 4 + length])
    count, columns = about["messages"], plain[4 + length :]
    rows = {}
    for name, kind, width, place in (
        ("id", "", 16, 0),
        ("time", "q", 8, 16),
        ("raw", "Q", 8, 24),
        ("stored", "Q", 8, 32),
        ("dictionary", "I", 4, 40),
    ):
        column = columns[place * count : (place + width) * count]
        if version == 1:
            rows[name] = [column[n * width : (n + 1) * width] for n in range(count)]
        else:
            rows[name] = [bytes(column[count * byte + n] for byte in range(width)) for n in range(count)]
        if kind:
            rows[name] = [struct.unpack("<" + kind, row)[0] for row in rows[name]]
    ids, times, raw, stored, dictionaries = rows.values()
    offsets = [60 + sum(stored[:n]) for n in range(count)]
    return {
        **about,
        "tenant_id": UUID(bytes=tenant),
        "generation": generation,
        "entries": list(zip(ids, times, raw, stored, dictionaries, offsets, strict=True)),
    }


def storage_key(message: bytes, tenant: UUID) -> str:
    return ".".join(base64.b32hexencode(part).decode().rstrip("=").lower() for part in (message, tenant.bytes))


def message(
    pack: bytes,
    entry: tuple,
    tenant: UUID,
    tenant_secret: bytes,
    wrapped_key: bytes,
    dictionary: bytes,
    form: str = "whole",
) -> bytes:
    """The message or attachment; of a split or recoded message its recipe and text."""
    message_id, _, raw_size, stored_size, dictionary_id, offset = entry
    sealed, name = pack[offset : offset + stored_size], storage_key(message_id, tenant)
    return opened(sealed, name, raw_size, tenant, tenant_secret, wrapped_key, dictionary_id, dictionary, form)


def opened(
    sealed: bytes,
    name: str,
    raw_size: int,
    tenant: UUID,
    tenant_secret: bytes,
    wrapped_key: bytes,
    dictionary_id: int,
    dictionary: bytes,
    form: str,
) -> bytes:
    """What was sealed."""
    tag = {"whole": b"PMC1", "split": b"PMC2", "attachment": b"PMC3", "recoded": b"PMC4"}[form]
    context = tag + tenant.bytes + struct.pack("<Q", raw_size) + name.encode()
    data_key = aes_key_unwrap(tenant_secret, wrapped_key)
    frame = AESGCM(data_key).decrypt(ZEROS, sealed, context)
    magic = bytes.fromhex("28b52ffd")
    frame = frame if frame.startswith(magic) else magic + frame
    stated = zstd.get_frame_info(frame)
    assert zstd.ZstdDict(dictionary).dict_id == dictionary_id
    assert stated.decompressed_size == raw_size or (
        form in ("split", "recoded") and stated.decompressed_size < raw_size
    )
    return zstd.decompress(frame, zstd.ZstdDict(dictionary))


def joined(recoded: bytes, attachments: list[bytes]) -> bytes:
    """A recoded message with its base64 encoded again."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = recoded[place]
            place += 1
            value += (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    blocks = []
    for _ in range(number()):
        distance, size, ending, stretches = number(), number(), number(), number()
        blocks.append((distance, size, ending, [(number(), number()) for _ in range(stretches)]))
    text, left = recoded[place:], list(attachments)
    raw = b""
    for distance, size, ending, stretches in blocks:
        raw, text = raw + text[:distance], text[distance:]
        if size % 2:
            content = left.pop(0)
        else:
            content, text = text[: size // 2], text[size // 2 :]
        assert len(content) == size // 2
        encoded, lines = base64.b64encode(content), []
        for characters, count in stretches:
            for _ in range(count):
                lines.append(encoded[:characters])
                encoded = encoded[characters:]
        assert (encoded, [line for line in lines if not line]) == (b"", [])
        raw += {1: b"\n", 2: b"\r\n"}[ending].join(lines)
    assert left == []
    return raw + text


def joined_split(split: bytes, attachments: list[bytes]) -> bytes:
    """A split message with its attachments in their places."""
    (count,) = struct.unpack_from("<H", split)
    assert count == len(attachments)
    rest, raw, done = split[2 + 21 * count :], b"", 0
    for number, content in enumerate(attachments):
        offset, size, characters, ending = struct.unpack_from("<QQIB", split, 2 + 21 * number)
        assert size == len(content)
        text = base64.b64encode(content)
        lines = [text[start : start + characters] for start in range(0, len(text), characters)]
        raw += rest[done:offset] + {1: b"\n", 2: b"\r\n"}[ending].join(lines)
        done = offset
    return raw + rest[done:]


def content_hash(first_tenant_secret: bytes, raw: bytes) -> str:
    return hmac.new(hkdf(first_tenant_secret, b"penguinmails content digest v1"), raw, hashlib.sha256).hexdigest()


def dictionary(sealed: bytes, tenant: UUID, tenant_secret: bytes, dictionary_id: int) -> bytes:
    number = struct.pack("<I", dictionary_id)
    key = hkdf(tenant_secret, b"penguinmails dictionary v1", number)
    return zstd.decompress(AESGCM(key).decrypt(ZEROS, sealed, b"PMD1" + tenant.bytes + number))
