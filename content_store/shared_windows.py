"""Counting, exactly and in bounded memory, how many correspondents have each 12 bytes in a row.

Two passes over the messages, one message in memory at a time. The first counts into buckets that different windows share,
and so finds what cannot be common enough; the second gives each window that is left a place of its own, where its bytes
stand, and counts there. Hashes only choose places, bytes are always compared: a count can be too small (a window that finds
both its places taken by others is not counted at all), never too big.

Belongs here: windows and their counts. Does not belong here: what may stand in a dictionary (dictionary_privacy.py), which
pieces are chosen (dictionary_training.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_BYTES = 12
MOST_OWNERS = 0xFFFF
_MOST_BUCKET_BITS = 24
_MOST_PLACE_BITS = 22
_LEAST_BITS = 12
_NOBODY = 0xFFFF
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class _Windows:
    """Every window of a text: its first eight bytes and its last four, as numbers."""

    first: NDArray[np.uint64]
    last: NDArray[np.uint32]

    def hashed(self, multiplier: int, bits: int) -> NDArray[np.uint32]:
        mixed = self.first * np.uint64(multiplier)
        mixed ^= mixed >> np.uint64(29)
        mixed += self.last
        mixed *= np.uint64(_MULTIPLIERS[0])
        mixed >>= np.uint64(64 - bits)
        return mixed.astype(np.uint32)

    def at(self, chosen: NDArray[np.intp]) -> _Windows:
        return _Windows(self.first[chosen], self.last[chosen])


def _windows(text: bytes) -> _Windows:
    count = max(0, len(text) - WINDOW_BYTES + 1)
    if not count:
        return _Windows(np.empty(0, np.uint64), np.empty(0, np.uint32))
    return _Windows(
        np.ndarray((count,), "<u8", text, 0, (1,)).copy(), np.ndarray((count,), "<u4", text, 8, (1,)).copy()
    )


class SharedWindows:
    """How many owners have each window that may be common enough."""

    def __init__(self, texts: Sequence[bytes], owners: Sequence[int], *, least_owners: int) -> None:
        """Counts.

        Args:
            texts: what is counted.
            owners: whose text each is, as a number below MOST_OWNERS.
            least_owners: windows of fewer need not be told apart.
        """
        self._least_owners = least_owners
        bits = max(_LEAST_BITS, sum(map(len, texts)).bit_length() + 1)
        self._bucket_bits, self._place_bits = min(bits, _MOST_BUCKET_BITS), min(bits, _MOST_PLACE_BITS)
        in_turn = sorted(range(len(texts)), key=owners.__getitem__)  # one owner's texts follow one another
        self._common = self._common_buckets(texts, owners, in_turn)
        places = 1 << self._place_bits
        self._first = np.zeros(places, np.uint64)
        self._last = np.zeros(places, np.uint32)
        self._counts = np.zeros(places, np.uint16)
        self._taken = np.zeros(places, np.bool_)
        latest_owner = np.full(places, _NOBODY, np.uint16)
        for number in in_turn:
            _, found = self._find(texts[number], claim=True)
            new = found[latest_owner[found] != owners[number]]
            latest_owner[new] = owners[number]
            self._counts[new] += np.uint16(1)  # a place that is named twice is counted once

    def owners_of(self, text: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint16]]:
        """Returns three columns for the windows of a text that were counted: offset, the window's number, its owners."""
        offsets, found = self._find(text, claim=False)
        return offsets, found, self._counts[found]

    @property
    def numbers(self) -> int:
        """Windows' numbers are below this."""
        return 1 << self._place_bits

    def _common_buckets(
        self, texts: Sequence[bytes], owners: Sequence[int], in_turn: Sequence[int]
    ) -> NDArray[np.bool_]:
        counts = np.zeros(1 << self._bucket_bits, np.uint16)
        latest_owner = np.full(1 << self._bucket_bits, _NOBODY, np.uint16)
        for number in in_turn:
            buckets = _windows(texts[number]).hashed(_MULTIPLIERS[0], self._bucket_bits)
            new = buckets[latest_owner[buckets] != owners[number]]
            latest_owner[new] = owners[number]
            counts[new] += np.uint16(1)
        return counts >= self._least_owners

    def _find(self, text: bytes, *, claim: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Returns offset and place of each window that has a place; `claim` gives places to windows that have none."""
        windows = _windows(text)
        offsets = np.flatnonzero(self._common[windows.hashed(_MULTIPLIERS[0], self._bucket_bits)])
        windows = windows.at(offsets)
        places = np.full(len(offsets), -1, np.intp)
        homeless = np.arange(len(offsets))
        for multiplier in _MULTIPLIERS[1:]:
            wanted = windows.at(homeless)
            at = wanted.hashed(multiplier, self._place_bits).astype(np.intp)
            if claim:
                free = np.flatnonzero(~self._taken[at])
                self._first[at[free]] = wanted.first[free]
                self._last[at[free]] = wanted.last[free]
                self._taken[at[free]] = True
            own = (self._first[at] == wanted.first) & (self._last[at] == wanted.last) & self._taken[at]
            places[homeless[own]] = at[own]
            homeless = homeless[~own]
        housed = places >= 0
        return offsets[housed], places[housed]
