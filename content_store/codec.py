"""Compression of one message: one zstd frame with a dictionary, and back within a bound.

Belongs here: zstd. Does not belong here: encryption (keys.py), many messages (pack.py), which dictionary and which level
are used (dictionary_catalog.py).

What every frame would say alike, and what the index says of it, is left out: the magic number and the dictionary's id,
eight of some two hundred bytes of a short mail.

A compressor costs 180 us to make (100 ms at the thorough level, where it indexes its dictionary well) and 50 us to use on
a 4 KB mail, so each thread keeps one per dictionary. Compressors are never shared between threads.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from penguinmails.content_store.errors import ContentDamaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ALGORITHM = "zstd"
FAST_LEVEL = 6
"""For long backlogs: 30 to 60 MB/s. Level 3 gives 13 % more bytes in a quarter of the time, 9 nothing for twice the time."""
THOROUGH_LEVEL = 17
"""For short ones: 5 to 8 % fewer bytes at 3 to 6 MB/s. Level 19 gives another half per cent in twice the time."""
MAX_MESSAGE_BYTES = 1 << 30
"""Nothing bigger is ever decompressed, whatever an index row says."""
_COMPRESSORS_PER_THREAD = 8
_MOST_HEADER_BYTES = 18
"""Of a zstd frame (RFC 8878, section 3.1.1.1)."""
_BIG_BYTES = 4 << 20
"""Bigger messages are worked on piece by piece: of 100 MB no more copies are in memory than there must be."""
_PIECE_BYTES = 1 << 20
_MAGIC = bytes.fromhex("28b52ffd")
_REMEDY = "Run 'penguinmails content verify'."
_BROKEN, _OTHER_SIZE = "cannot be decompressed (damaged zstd frame)", "does not decompress to its stated size"


@dataclass(frozen=True)
class Dictionary:
    """A finalised zstd dictionary, and how hard zstd tries with it. Level and id are no part of the frames."""

    dictionary_id: int
    content: bytes = field(repr=False)
    level: int = FAST_LEVEL

    def __reduce__(self) -> tuple[type[Dictionary], tuple[int, bytes, int]]:
        """Without zstd's own forms, which stay in their process."""
        return type(self), (self.dictionary_id, self.content, self.level)

    @cached_property
    def digested(self) -> zstd.ZstdDict:
        """zstd's own form, digested once; safe to share between threads."""
        return zstd.ZstdDict(self.content)

    def at_level(self, level: int) -> Dictionary:
        """Returns the same dictionary, to write with at another level; the same object each time."""
        return self if level == self.level else self._other_levels.setdefault(level, self._with(level))

    @cached_property
    def _other_levels(self) -> dict[int, Dictionary]:
        return {}

    def _with(self, level: int) -> Dictionary:
        return dataclasses.replace(self, level=level)


class _Compressors(threading.local):
    def __init__(self) -> None:
        self.by_dictionary: dict[Dictionary, zstd.ZstdCompressor] = {}


_compressors = _Compressors()


def compress(raw: bytes, dictionary: Dictionary) -> bytes:
    """Returns `raw` as one zstd frame that states its size, without magic number and dictionary id."""
    compressor = _compressor(dictionary)
    compressor.set_pledged_input_size(len(raw))
    if len(raw) <= _BIG_BYTES:
        return compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)[len(_MAGIC) :]
    view, made = memoryview(raw), io.BytesIO()
    for start in range(0, len(raw), _PIECE_BYTES):
        made.write(compressor.compress(view[start : start + _PIECE_BYTES]))
    made.write(compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME))
    return made.getvalue()[len(_MAGIC) :]


def stated_size_bytes(frame: bytes, *, thing: str) -> int:
    """Returns the size that a frame says it decompresses to.

    Raises:
        ContentDamaged: it is no such frame.
    """
    try:
        return zstd.get_frame_info(_whole(frame[:_MOST_HEADER_BYTES])).decompressed_size or 0
    except zstd.ZstdError as error:
        raise ContentDamaged(thing, "holds no zstd frame", _REMEDY) from error


def decompress(frame: bytes, dictionary: Dictionary, *, raw_size_bytes: int, thing: str) -> bytes:
    """Returns what `compress` was given; never makes more than `raw_size_bytes` bytes.

    Another dictionary of this project may give other bytes of the same size instead of an error: callers compare hashes.

    Args:
        frame: one zstd frame.
        raw_size_bytes: the size the message must have.
        thing: what the frame is, for the error.

    Raises:
        ContentDamaged: it is no such frame, has another size, or (where it says so) another dictionary.
    """
    if raw_size_bytes > MAX_MESSAGE_BYTES:
        raise ContentDamaged(thing, f"claims to hold {raw_size_bytes} bytes", _REMEDY)
    if stated_size_bytes(frame, thing=thing) != raw_size_bytes:
        raise ContentDamaged(thing, "has another size than the index says", _REMEDY)
    if frame.startswith(_MAGIC) and zstd.get_frame_info(frame).dictionary_id != dictionary.dictionary_id:
        raise ContentDamaged(thing, "has another dictionary than the index says", _REMEDY)
    if raw_size_bytes > _BIG_BYTES:
        made = io.BytesIO()
        for piece in _pieces(frame, dictionary, raw_size_bytes=raw_size_bytes, thing=thing):
            made.write(piece)
        return made.getvalue()
    try:
        decompressor = zstd.ZstdDecompressor(dictionary.digested)
        # One byte of room more than allowed: a frame that lies about its size shows itself without being unpacked.
        raw = decompressor.decompress(_whole(frame), raw_size_bytes + 1)
    except zstd.ZstdError as error:
        raise ContentDamaged(thing, _BROKEN, _REMEDY) from error
    if len(raw) != raw_size_bytes or not decompressor.eof or decompressor.unused_data:
        raise ContentDamaged(thing, _OTHER_SIZE, _REMEDY)
    return raw


def gives(frame: bytes, dictionary: Dictionary, raw: bytes, *, thing: str) -> bool:
    """Returns whether `decompress` gives these bytes; a big message is compared piece by piece.

    Raises:
        ContentDamaged: as `decompress`.
    """
    if len(raw) <= _BIG_BYTES:
        return decompress(frame, dictionary, raw_size_bytes=len(raw), thing=thing) == raw
    expected, place = memoryview(raw), 0
    for piece in _pieces(frame, dictionary, raw_size_bytes=len(raw), thing=thing):
        if expected[place : place + len(piece)] != piece:
            return False
        place += len(piece)
    return True


def _pieces(frame: bytes, dictionary: Dictionary, *, raw_size_bytes: int, thing: str) -> Iterator[bytes]:
    """Yields what a big frame decompresses to, little by little; as many bytes as asked for, or it fails."""
    rest, read, left = memoryview(frame), 0, raw_size_bytes
    try:
        decompressor = zstd.ZstdDecompressor(dictionary.digested)
        if not frame.startswith(_MAGIC):
            decompressor.decompress(_MAGIC)
        while not decompressor.eof and (read < len(rest) or not decompressor.needs_input):
            more = rest[read : read + _PIECE_BYTES] if decompressor.needs_input else b""
            read += len(more)
            piece = decompressor.decompress(more, _PIECE_BYTES)
            left -= len(piece)
            if left < 0:
                break
            yield piece
    except zstd.ZstdError as error:
        raise ContentDamaged(thing, _BROKEN, _REMEDY) from error
    if left or read < len(rest) or not decompressor.eof or decompressor.unused_data:
        raise ContentDamaged(thing, _OTHER_SIZE, _REMEDY)


def _whole(frame: bytes) -> bytes:
    """Returns the frame with its magic number, which frames of the first version have kept.

    No frame without it begins like that: its first byte, 28, would set a bit that RFC 8878 reserves.
    """
    return frame if frame.startswith(_MAGIC) else _MAGIC + frame


def _compressor(dictionary: Dictionary) -> zstd.ZstdCompressor:
    known = _compressors.by_dictionary
    found = known.get(dictionary)
    if found is None:
        if len(known) >= _COMPRESSORS_PER_THREAD:
            known.pop(next(iter(known)))
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: dictionary.level,
            zstd.CompressionParameter.dict_id_flag: 0,
        }
        found = zstd.ZstdCompressor(options=options, zstd_dict=dictionary.digested.as_digested_dict)
        known[dictionary] = found
    return found
