"""Compression of one message: one zstd frame with a dictionary, and back within a bound.

Belongs here: zstd. Does not belong here: encryption (keys.py), many messages (pack.py), which dictionary is used
(dictionary_catalog.py).

A compressor costs 180 us to make and 50 us to use on a 4 KB mail, so each thread keeps one per dictionary. Compressors
are never shared between threads.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from functools import cached_property

from penguinmails.content_store.errors import ContentDamaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ALGORITHM = "zstd"
FAST_LEVEL = 6
THOROUGH_LEVEL = 17
LEVEL = FAST_LEVEL
MAX_MESSAGE_BYTES = 1 << 30
"""Nothing bigger is ever decompressed, whatever an index row says."""
_COMPRESSORS_PER_THREAD = 8


@dataclass(frozen=True)
class Dictionary:
    """A finalised zstd dictionary. Its id stands in every frame made with it."""

    dictionary_id: int
    content: bytes

    def __repr__(self) -> str:
        return f"Dictionary({self.dictionary_id}, {len(self.content)} bytes)"

    @cached_property
    def digested(self) -> zstd.ZstdDict:
        """zstd's own form, digested once; safe to share between threads."""
        return zstd.ZstdDict(self.content)


class _Compressors(threading.local):
    def __init__(self) -> None:
        self.by_dictionary: dict[Dictionary, zstd.ZstdCompressor] = {}


_compressors = _Compressors()


def compress(raw: bytes, dictionary: Dictionary) -> bytes:
    """Returns `raw` as one zstd frame that states its size and the dictionary's id."""
    compressor = _compressor(dictionary)
    compressor.set_pledged_input_size(len(raw))
    return compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(frame: bytes, dictionary: Dictionary, *, raw_size_bytes: int, thing: str) -> bytes:
    """Returns what `compress` was given; never makes more than `raw_size_bytes` bytes.

    Args:
        frame: one zstd frame.
        raw_size_bytes: the size the message must have.
        thing: what the frame is, for the error.

    Raises:
        ContentDamaged: it is no such frame, was made with another dictionary, or has another size.
    """
    if raw_size_bytes > MAX_MESSAGE_BYTES:
        raise ContentDamaged(thing, f"claims to hold {raw_size_bytes} bytes", "Run 'penguinmails content verify'.")
    try:
        stated = zstd.get_frame_info(frame)
        if stated.dictionary_id != dictionary.dictionary_id or stated.decompressed_size != raw_size_bytes:
            raise ContentDamaged(
                thing, "has another size or dictionary than the index says", "Run 'penguinmails content verify'."
            )
        decompressor = zstd.ZstdDecompressor(dictionary.digested)
        # One byte of room more than allowed: a frame that lies about its size shows itself without being unpacked.
        raw = decompressor.decompress(frame, raw_size_bytes + 1)
    except zstd.ZstdError as error:
        raise ContentDamaged(
            thing, "cannot be decompressed (damaged zstd frame)", "Run 'penguinmails content verify'."
        ) from error
    if len(raw) != raw_size_bytes or not decompressor.eof or decompressor.unused_data:
        raise ContentDamaged(thing, "does not decompress to its stated size", "Run 'penguinmails content verify'.")
    return raw


def _compressor(dictionary: Dictionary) -> zstd.ZstdCompressor:
    known = _compressors.by_dictionary
    found = known.get(dictionary)
    if found is None:
        if len(known) >= _COMPRESSORS_PER_THREAD:
            known.pop(next(iter(known)))
        found = zstd.ZstdCompressor(LEVEL, zstd_dict=dictionary.digested.as_digested_dict)
        known[dictionary] = found
    return found
