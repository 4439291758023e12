"""The pack: an immutable object of many sealed messages of one tenant, retention class and month of intake.

docs/content-format.md describes the bytes for anyone who wants to write a second reader; this module and that page say
the same thing. A pack is four zstd skippable frames, so `zstd -t` accepts it: header, messages, directory, footer.

Belongs here: putting those bytes together and taking them apart. Does not belong here: compression and encryption of a
message, where packs are stored.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import orjson

from penguinmails.content_store.errors import ContentDamaged, PackMalformed
from penguinmails.content_store.sealing import TenantKey, seal, unseal
from penguinmails.content_store.storage_layout import PackGroup

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TARGET_BYTES = 16 << 20
LEAST_BYTES = 4 << 20
MOST_BYTES = 64 << 20
"""A pack holds at least one message, however big; otherwise it is never bigger than this."""

VERSION = 2
_READABLE = (1, VERSION)
"""Packs of the first version have the columns of their directory row by row; their messages may stand in newer packs too."""
_MAGIC = b"PMPACK"
_HEADER, _MESSAGES, _DIRECTORY, _FOOTER = 0x184D2A50, 0x184D2A51, 0x184D2A52, 0x184D2A53
_FRAME = struct.Struct("<II")
_HEADER_PAYLOAD = struct.Struct("<6sH16s16sI")
_FOOTER_PAYLOAD = struct.Struct("<QQ6sH")
_LENGTH = struct.Struct("<I")
FIRST_FRAME_OFFSET = _FRAME.size + _HEADER_PAYLOAD.size + _FRAME.size
FOOTER_BYTES = _FRAME.size + _FOOTER_PAYLOAD.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_DIRECTORY_BYTES = 1 << 28
_REMEDY = "Run 'penguinmails content verify'; messages in other packs are not affected."


class Entry(NamedTuple):
    """One message in the directory."""

    message_id: UUID
    created_at: datetime
    raw_size_bytes: int
    sealed_size_bytes: int
    dictionary_id: int


@dataclass(frozen=True)
class Header:
    """The first bytes of a pack."""

    tenant_id: UUID
    pack_id: UUID
    key_generation: int
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return _HEADER_PAYLOAD.pack(_MAGIC, self.version, self.tenant_id.bytes, self.pack_id.bytes, self.key_generation)


@dataclass(frozen=True)
class Directory:
    """What a pack holds: enough to rebuild its rows of the index, wrapped keys excepted."""

    group: PackGroup
    pack_id: UUID
    entries: Sequence[Entry]

    @cached_property
    def plain_bytes(self) -> bytes:
        """What the directory says, before it is compressed and sealed."""
        return _directory_bytes(self)

    def offsets(self) -> list[int]:
        """Returns the offset of each sealed message from the start of the pack."""
        offsets, next_offset = [], FIRST_FRAME_OFFSET
        for entry in self.entries:
            offsets.append(next_offset)
            next_offset += entry.sealed_size_bytes
        return offsets


def build_pack(directory: Directory, sealed: Sequence[bytes], key: TenantKey) -> bytes:
    """Returns the bytes of a pack; `sealed` are the messages in the directory's order."""
    header = Header(directory.group.tenant_id, directory.pack_id, key.generation).to_bytes()
    messages_bytes = sum(map(len, sealed))
    closed = seal(zstd.compress(directory.plain_bytes, 9), _directory_key(key, directory.pack_id), header)
    directory_offset = FIRST_FRAME_OFFSET + messages_bytes
    footer = _FOOTER_PAYLOAD.pack(directory_offset, len(closed), _MAGIC, VERSION)
    return b"".join(
        [
            *(_FRAME.pack(_HEADER, len(header)), header),
            *(_FRAME.pack(_MESSAGES, messages_bytes), *sealed),
            *(_FRAME.pack(_DIRECTORY, len(closed)), closed),
            *(_FRAME.pack(_FOOTER, len(footer)), footer),
        ]
    )


def must_be_whole(pack: bytes, directory: Directory, key: TenantKey) -> None:
    """Opens the directory of a pack that was just built as a reader would, and compares it.

    Raises:
        ContentDamaged, PackMalformed: building went wrong; store nothing.
    """
    thing = f"pack {directory.pack_id}"
    closed, header = _closed_directory(pack, thing=thing)
    opened = unseal(closed, _directory_key(key, header.pack_id), header.to_bytes(), thing=f"directory of {thing}")
    if zstd.decompress(opened) != directory.plain_bytes:
        raise ContentDamaged(thing, "did not survive building", "Test this machine's memory; nothing was stored.")


def read_header(pack: bytes, *, thing: str) -> Header:
    """Returns the header of a pack or of its beginning.

    Raises:
        PackMalformed: it does not begin like a pack of a known version.
    """
    payload = _payload(pack, 0, _HEADER, thing=thing)
    if len(payload) != _HEADER_PAYLOAD.size:
        raise PackMalformed(thing, "has a header of another size", _REMEDY)
    magic, version, tenant, pack_id, generation = _HEADER_PAYLOAD.unpack(payload)
    if magic != _MAGIC or version not in _READABLE:
        raise PackMalformed(thing, f"is no pack of version 1 to {VERSION}", _REMEDY)
    return Header(UUID(bytes=tenant), UUID(bytes=pack_id), generation, version)


def directory_place(end_of_pack: bytes, pack_size_bytes: int, *, thing: str) -> tuple[int, int]:
    """Returns (offset, size in bytes) of the directory's frame from the last FOOTER_BYTES bytes of a pack.

    Raises:
        PackMalformed: the pack was cut off or altered at its end.
    """
    payload = _payload(end_of_pack[-FOOTER_BYTES:], 0, _FOOTER, thing=thing)
    if len(payload) != _FOOTER_PAYLOAD.size:
        raise PackMalformed(thing, "has a footer of another size", _REMEDY)
    offset, size_bytes, magic, version = _FOOTER_PAYLOAD.unpack(payload)
    if (
        magic != _MAGIC
        or version not in _READABLE
        or offset + _FRAME.size + size_bytes + FOOTER_BYTES != pack_size_bytes
    ):
        raise PackMalformed(thing, "was cut off or altered at its end", _REMEDY)
    return int(offset), _FRAME.size + int(size_bytes)


def read_directory(pack: bytes, key: TenantKey, *, thing: str) -> Directory:
    """Returns the directory of a whole pack.

    Raises:
        PackMalformed: the bytes are not a whole pack.
        ContentDamaged: the directory was altered, or is another tenant's.
    """
    closed, header = _closed_directory(pack, thing=thing)
    opened = unseal(closed, _directory_key(key, header.pack_id), header.to_bytes(), thing=f"directory of {thing}")
    directory = _parse_directory(opened, header, thing=thing)
    offset, _ = directory_place(pack, len(pack), thing=thing)
    if FIRST_FRAME_OFFSET + sum(entry.sealed_size_bytes for entry in directory.entries) != offset:
        raise PackMalformed(thing, "holds other messages than its directory says", _REMEDY)
    return directory


def _closed_directory(pack: bytes, *, thing: str) -> tuple[bytes, Header]:
    header = read_header(pack, thing=thing)
    offset, _ = directory_place(pack, len(pack), thing=thing)
    return _payload(pack, offset, _DIRECTORY, thing=thing), header


def _directory_key(key: TenantKey, pack_id: UUID) -> bytes:
    return key.derive(b"penguinmails pack directory v1", pack_id.bytes)


def _directory_bytes(directory: Directory) -> bytes:
    about = orjson.dumps(
        {
            "retention_class": directory.group.retention_class,
            "ingest_month": f"{directory.group.ingest_month:%Y-%m}",
            "messages": len(directory.entries),
        }
    )
    entries = directory.entries
    columns = [
        _planes(b"".join(entry.message_id.bytes for entry in entries), 16),
        _column("q", [(entry.created_at - _EPOCH) // _MICROSECOND for entry in entries]),
        _column("Q", [entry.raw_size_bytes for entry in entries]),
        _column("Q", [entry.sealed_size_bytes for entry in entries]),
        _column("I", [entry.dictionary_id for entry in entries]),
    ]
    return b"".join([_LENGTH.pack(len(about)), about, *columns])


def _parse_directory(compressed: bytes, header: Header, *, thing: str) -> Directory:
    try:
        plain = zstd.ZstdDecompressor().decompress(compressed, _MOST_DIRECTORY_BYTES)
        (about_bytes,) = _LENGTH.unpack_from(plain)
        about = orjson.loads(plain[_LENGTH.size : _LENGTH.size + about_bytes])
        count = int(about["messages"])
        group = PackGroup(
            header.tenant_id,
            str(about["retention_class"]),
            datetime.strptime(about["ingest_month"], "%Y-%m").replace(tzinfo=UTC).date(),
        )
        columns = plain[_LENGTH.size + about_bytes :]
        if len(columns) != count * (16 + 8 + 8 + 8 + 4):
            raise PackMalformed(thing, "has a directory of another size", _REMEDY)
        rows_of = _rows if header.version > 1 else _split
        ids = rows_of(columns[: 16 * count], 16)
        created = _values("q", rows_of(columns[16 * count : 24 * count], 8))
        raw_sizes = _values("Q", rows_of(columns[24 * count : 32 * count], 8))
        sealed_sizes = _values("Q", rows_of(columns[32 * count : 40 * count], 8))
        dictionaries = _values("I", rows_of(columns[40 * count :], 4))
    except (zstd.ZstdError, struct.error, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise PackMalformed(thing, "has a directory that cannot be read", _REMEDY) from error
    rows = zip(ids, created, raw_sizes, sealed_sizes, dictionaries, strict=True)
    entries = [
        Entry(UUID(bytes=message_id), _EPOCH + microseconds * _MICROSECOND, raw, sealed, dictionary)
        for message_id, microseconds, raw, sealed, dictionary in rows
    ]
    return Directory(group, header.pack_id, entries)


def _column(kind: str, values: list[int]) -> bytes:
    return _planes(struct.pack(f"<{len(values)}{kind}", *values), struct.calcsize(kind))


def _values(kind: str, rows: list[bytes]) -> tuple[int, ...]:
    return struct.unpack(f"<{len(rows)}{kind}", b"".join(rows))


def _planes(rows: bytes, width: int) -> bytes:
    """Returns the first byte of every row, then the second of every row, and so on: like stands beside like."""
    return b"".join(rows[place::width] for place in range(width))


def _split(column: bytes, width: int) -> list[bytes]:
    return [column[start : start + width] for start in range(0, len(column), width)]


def _rows(planes: bytes, width: int) -> list[bytes]:
    count = len(planes) // width
    return [planes[row::count] for row in range(count)]


def _payload(pack: bytes, offset: int, kind: int, *, thing: str) -> bytes:
    if len(pack) < offset + _FRAME.size:
        raise PackMalformed(thing, "was cut off", _REMEDY)
    magic, size_bytes = _FRAME.unpack_from(pack, offset)
    start = offset + _FRAME.size
    if magic != kind or len(pack) < start + size_bytes:
        raise PackMalformed(thing, "was cut off or altered", _REMEDY)
    return pack[start : start + size_bytes]
