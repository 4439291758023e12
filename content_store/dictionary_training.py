"""Training a dictionary that gives nobody away.

A dictionary is made of pieces of mail, is needed to read every message made with it, and so outlives the erasure of any
of them. Therefore it may only hold what many people were sent: every 12 bytes in a row of every piece occur in messages
with at least five different correspondents. Addresses and long tokens (tracking ids, keys, signatures) are cut out before
anything is counted, however often they occur.

The method is k-anonymity on byte windows; picking pieces greedily by what they newly cover is the idea of COVER (zstd's
trainer). Counting is exact: no hashing.

Belongs here: choosing the bytes. Does not belong here: storing dictionaries, deciding when one is due
(dictionary_catalog.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary, with_dictionary_id
from penguinmails.content_store.codec import LEVEL, Dictionary

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MINIMUM_CORRESPONDENTS = 5
"""k: a piece of a dictionary was exchanged with at least so many different people."""
WINDOW_BYTES = 12
MOST_DICTIONARY_BYTES = 400 << 10
_MOST_SAMPLED_MESSAGES = 1_500
_MOST_SAMPLED_BYTES = 4 << 20
_MOST_BYTES_OF_A_MESSAGE = 32 << 10
_LEAST_DICTIONARY_BYTES = 512
_BUCKET_BITS = 22
_BOOTSTRAP_BYTES = 110 << 10
_TABLES_BYTES = 4 << 10
_ADDRESS = rb"[A-Za-z0-9._%+=-]+@[A-Za-z0-9.-]+"
_LONG_TOKEN = rb"(?=[A-Za-z]*[0-9])[A-Za-z0-9_+=-]{24,}"
_NEVER = re.compile(_ADDRESS + b"|" + _LONG_TOKEN)


@dataclass(frozen=True)
class Sample:
    """One message to learn from."""

    correspondent: str
    raw: bytes


def choose_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Returns an even selection that training can hold in memory."""
    size_bytes = sum(min(len(sample.raw), _MOST_BYTES_OF_A_MESSAGE) for sample in samples)
    step = max(1, -(-len(samples) // _MOST_SAMPLED_MESSAGES), -(-size_bytes // _MOST_SAMPLED_BYTES))
    # In order of size, messages of one campaign stand together: each campaign gets its share, not a chance of one.
    return sorted(samples, key=lambda sample: (len(sample.raw), sample.raw))[::step]


def train_dictionary(
    samples: Sequence[Sample], dictionary_id: int, *, most_bytes: int = MOST_DICTIONARY_BYTES
) -> Dictionary | None:
    """Returns a dictionary made of what many correspondents have in common; None where that is too little.

    Args:
        samples: what `choose_samples` chose.
        dictionary_id: stands in every frame made with it.
    """
    people = {_person(sample.correspondent): None for sample in samples}
    if len(people) < MINIMUM_CORRESPONDENTS:
        return None
    shared = shared_content(samples, most_bytes=most_bytes)
    if len(shared) < _LEAST_DICTIONARY_BYTES:
        return None
    # What zstd reaches most cheaply stands last: the tenant's own pieces after the general ones.
    content = bootstrap_dictionary().content[-_BOOTSTRAP_BYTES:] + shared
    raw = zstd.ZstdDict(content, is_raw=True)
    finished = zstd.finalize_dict(raw, [sample.raw for sample in samples], len(content) + _TABLES_BYTES, LEVEL)
    return Dictionary(dictionary_id, with_dictionary_id(finished.dict_content, dictionary_id))


def shared_content(samples: Sequence[Sample], *, most_bytes: int = MOST_DICTIONARY_BYTES) -> bytes:
    """Returns pieces that at least MINIMUM_CORRESPONDENTS correspondents have in common, the most common ones last."""
    pieces = shared_pieces(samples)
    pieces.sort(key=lambda piece: piece[0])
    kept, size_bytes = [], 0
    for _, piece in reversed(pieces):
        if size_bytes + len(piece) > most_bytes:
            continue
        kept.append(piece)
        size_bytes += len(piece)
    return b"".join(reversed(kept))


def shared_pieces(samples: Sequence[Sample]) -> list[tuple[float, bytes]]:
    """Returns (correspondents who have it, piece) without repetitions.

    Two passes over the messages, one message in memory at a time: the first counts into buckets, where several windows
    may share one, and so finds what cannot be common enough; the second counts the few windows left exactly.
    """
    texts = [sample.raw[:_MOST_BYTES_OF_A_MESSAGE] for sample in samples]
    people = {name: number for number, name in enumerate(dict.fromkeys(_person(s.correspondent) for s in samples))}
    owners = [people[_person(sample.correspondent)] for sample in samples]
    common = _common_buckets(texts, owners)
    candidates = [np.flatnonzero(_allowed(text) & common[_buckets(_windows(text))]) for text in texts]
    counts = [len(places) for places in candidates]
    if not sum(counts):
        return []
    windows = np.empty((sum(counts), 2), dtype=np.uint64)
    start = 0
    for text, places in zip(texts, candidates, strict=True):
        windows[start : start + len(places)] = _windows(text)[places]
        start += len(places)
    names, spread = _spread(windows, np.repeat(np.array(owners, dtype=np.uint64), counts))
    del windows
    covered = np.zeros(len(spread), dtype=bool)
    pieces, start = [], 0
    for text, places in zip(texts, candidates, strict=True):
        own = names[start : start + len(places)]
        start += len(places)
        wanted = (spread[own] >= MINIMUM_CORRESPONDENTS) & ~covered[own]
        for first, last in _runs(places[wanted]):
            run = own[(places >= first) & (places <= last)]
            pieces.append((float(spread[run].mean()), text[first : last + WINDOW_BYTES]))
            covered[run] = True
    return pieces


def _windows(text: bytes) -> NDArray[np.uint64]:
    """Returns every window of a text as a pair of numbers: its first eight bytes and its last four."""
    count = max(0, len(text) - WINDOW_BYTES + 1)
    octets = np.frombuffer(text, dtype=np.uint8)
    slices = (
        np.lib.stride_tricks.sliding_window_view(octets, WINDOW_BYTES) if count else np.empty((0, WINDOW_BYTES), "u1")
    )
    padded = np.zeros((count, 16), dtype=np.uint8)
    padded[:, :WINDOW_BYTES] = slices
    return padded.view("<u8")


def _buckets(windows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (windows[:, 0] ^ windows[:, 1] * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xD6E8FEB86659FD93)
    return mixed >> np.uint64(64 - _BUCKET_BITS)


def _common_buckets(texts: Sequence[bytes], owners: Sequence[int]) -> NDArray[np.bool_]:
    """Returns which buckets hold windows of enough owners (too many owners where windows share a bucket, never too few)."""
    counts = np.zeros(1 << _BUCKET_BITS, dtype=np.uint16)
    texts_of: dict[int, list[bytes]] = {}
    for text, owner in zip(texts, owners, strict=True):
        texts_of.setdefault(owner, []).append(text)
    for own in texts_of.values():
        counts[np.unique(np.concatenate([_buckets(_windows(text)) for text in own]))] += 1
    return counts >= MINIMUM_CORRESPONDENTS


def _spread(windows: NDArray[np.uint64], owners: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Numbers equal windows alike; returns each window's number and, by number, how many owners it has."""
    keys = np.unique(windows[:, 0], return_inverse=True)[1].astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= windows[:, 1]
    names = np.unique(keys, return_inverse=True)[1].astype(np.uint64)
    np.left_shift(names, np.uint64(20), out=keys)
    keys |= owners
    having = np.unique(keys)
    return names, np.bincount((having >> np.uint64(20)).astype(np.int64))


def _allowed(text: bytes) -> NDArray[np.bool_]:
    """Returns, for each window, whether it touches no address and no long token."""
    forbidden = np.zeros(len(text) + 1, dtype=np.int64)
    for found in _NEVER.finditer(text):
        forbidden[found.start()] += 1
        forbidden[found.end()] -= 1
    inside = np.cumsum(forbidden[:-1]) > 0
    sums = np.concatenate([[0], np.cumsum(inside)])
    count = max(0, len(text) - WINDOW_BYTES + 1)
    touched: NDArray[np.int64] = sums[WINDOW_BYTES : WINDOW_BYTES + count] - sums[:count]
    allowed: NDArray[np.bool_] = touched == 0
    return allowed


def _runs(places: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns (first, last) of each run of places that follow one another."""
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) != 1)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [len(places) - 1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def _person(correspondent: str) -> str:
    """Returns one name for the addresses of one person: case and what follows a plus sign do not make another."""
    local, _, domain = correspondent.strip().lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"
