"""Training a dictionary that gives nobody away.

A dictionary is made of pieces of mail, is needed to read every message made with it, and so outlives the erasure of any
of them. Therefore it may only hold what many people were sent: every 12 bytes in a row of every piece occur in messages
with at least five different correspondents. Addresses, names of correspondents, telephone numbers and long tokens
(tracking ids, keys, signatures) are cut out, however often they occur.

The method is k-anonymity on byte windows; picking pieces greedily by what they newly cover is the idea of COVER (zstd's
trainer). Unlike there, what many share is taken along though another piece has it already: a short stretch between two
new ones, and a little on both sides of each piece. Whoever is sent the same text then finds it in one place instead of
twenty, which halves what HTML mail needs and gives 1 % more on ordinary mail.

Belongs here: choosing the bytes. Does not belong here: counting (shared_windows.py), what is personal
(dictionary_privacy.py), storing dictionaries, deciding when one is due (dictionary_catalog.py).
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from penguinmails.content_store.bootstrap_dictionary import bootstrap_content
from penguinmails.content_store.codec import FAST_LEVEL, Dictionary
from penguinmails.content_store.dictionary_privacy import names_in, personal_places
from penguinmails.content_store.dictionary_samples import MINIMUM_CORRESPONDENTS, MOST_BYTES_OF_A_MESSAGE, Sample
from penguinmails.content_store.shared_windows import MOST_OWNERS, WINDOW_BYTES, SharedWindows

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_DICTIONARY_BYTES = 600 << 10
_LEAST_DICTIONARY_BYTES = 512
_MOST_BRIDGED_BYTES = 256
"""A stretch between two new ones that is covered already is repeated up to this length."""
_MOST_MARGIN_BYTES = 32
"""So much of what is covered already is repeated on each side of a piece: a match then goes on where it would have ended."""
_STATISTICS_MESSAGES = 600
_TABLES_BYTES = 4 << 10
_WORD_BYTE = re.compile(rb"[A-Za-z0-9\x80-\xff]")


@dataclass(frozen=True)
class Piece:
    """Bytes that many correspondents have, and where they came from."""

    correspondents: float
    """How many have each window of it, on average."""
    message: int
    content: bytes


def train_dictionary(
    samples: Sequence[Sample],
    dictionary_id: int,
    *,
    level: int = FAST_LEVEL,
    most_bytes: int = MOST_DICTIONARY_BYTES,
) -> Dictionary | None:
    """Returns a dictionary made of what many correspondents have in common; None where that is too little.

    Args:
        samples: what `choose_samples` chose.
        dictionary_id: the index names it by this.
        level: what it will mostly be used at.
    """
    people = {_person(sample.correspondent): None for sample in samples}
    if len(people) < MINIMUM_CORRESPONDENTS:
        return None
    shared = shared_content(samples, most_bytes=most_bytes)
    if len(shared) < _LEAST_DICTIONARY_BYTES:
        return None
    # What zstd reaches most cheaply stands last: the tenant's own pieces after the general ones.
    content = bootstrap_content() + shared
    return Dictionary(dictionary_id, finalize(content, [sample.raw for sample in samples], dictionary_id, level), level)


def finalize(content: bytes, messages: Sequence[bytes], dictionary_id: int, level: int) -> bytes:
    """Returns a zstd dictionary: tables of how often what occurs, as counted on these messages, and the content.

    Args:
        level: levels choose other matches, and so need other tables: those of the wrong one cost 4 % on short mail.
    """
    counted = messages[:: -(-len(messages) // _STATISTICS_MESSAGES)]
    made = zstd.finalize_dict(zstd.ZstdDict(content, is_raw=True), counted, len(content) + _TABLES_BYTES, level)
    # The id stands in bytes 4 to 8, little endian (RFC 8878, section 5).
    return made.dict_content[:4] + struct.pack("<I", dictionary_id) + made.dict_content[8:]


def shared_content(samples: Sequence[Sample], *, most_bytes: int = MOST_DICTIONARY_BYTES) -> bytes:
    """Returns pieces that at least MINIMUM_CORRESPONDENTS correspondents have in common.

    The most common ones are taken first; those of one message stay together, the messages with the most common piece last.
    """
    chosen, size_bytes = dict[int, list[Piece]](), 0
    pieces = shared_pieces(samples)
    taken = [False] * len(pieces)
    for number in sorted(range(len(pieces)), key=lambda number: -pieces[number].correspondents):
        if size_bytes + len(pieces[number].content) <= most_bytes:
            taken[number] = True
            size_bytes += len(pieces[number].content)
    for number, piece in enumerate(pieces):
        if taken[number]:
            chosen.setdefault(piece.message, []).append(piece)
    ordered = sorted(chosen.values(), key=_most_correspondents)
    return _joined([piece.content for group in ordered for piece in group])


def shared_pieces(samples: Sequence[Sample]) -> list[Piece]:
    """Returns what enough correspondents have in common, in the messages' order, (nearly) without repetitions."""
    texts = [sample.raw[:MOST_BYTES_OF_A_MESSAGE] for sample in samples]
    people = {name: number for number, name in enumerate(dict.fromkeys(_person(s.correspondent) for s in samples))}
    owners = [people[_person(sample.correspondent)] % MOST_OWNERS for sample in samples]
    windows = SharedWindows(texts, owners, least_owners=MINIMUM_CORRESPONDENTS)
    names = set[bytes]().union(*(names_in(sample.correspondent, sample.raw) for sample in samples))
    covered = np.zeros(windows.numbers, dtype=np.bool_)
    pieces = list[Piece]()
    for message, text in enumerate(texts):
        offsets, numbers, spread = windows.owners_of(text)
        usable = spread >= MINIMUM_CORRESPONDENTS
        if covered[numbers[usable]].all():
            continue
        usable &= _impersonal(text, names)[offsets]
        offsets, numbers, spread = offsets[usable], numbers[usable], spread[usable]
        spread_before = np.concatenate(([0], np.cumsum(spread, dtype=np.int64)))
        for first, last in _runs(offsets, np.flatnonzero(~covered[numbers])):
            covered[numbers[first : last + 1]] = True
            content = text[offsets[first] : offsets[last] + WINDOW_BYTES]
            correspondents = int(spread_before[last + 1] - spread_before[first]) / (last + 1 - first)
            pieces.append(Piece(correspondents, message, content))
    return pieces


def _impersonal(text: bytes, names: set[bytes]) -> NDArray[np.bool_]:
    """Returns, for each window, whether it touches nothing personal."""
    personal = np.zeros(len(text) + 1, dtype=np.intp)
    for start, end in personal_places(text, names):
        personal[start + 1 : end + 1] = 1
    before = np.cumsum(personal)
    count = max(0, len(text) - WINDOW_BYTES + 1)
    impersonal: NDArray[np.bool_] = before[WINDOW_BYTES : WINDOW_BYTES + count] == before[:count]
    return impersonal


def _joined(contents: Sequence[bytes]) -> bytes:
    """Returns the pieces one after the other, with a line break where two would make a word or number that nobody wrote."""
    made, before = bytearray(), b""
    for content in contents:
        if before and _WORD_BYTE.match(before[-1:]) and _WORD_BYTE.match(content[:1]):
            made += b"\n"
        made += content
        before = content
    return bytes(made)


def _runs(offsets: NDArray[np.intp], wanted: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yields (first, last) of each run of windows that follow one another from a wanted one to another, with its margins.

    Args:
        offsets: of the common windows of a text.
        wanted: which of them are wanted, as places in `offsets`.
    """
    if not len(wanted):
        return
    steps = np.diff(wanted)
    unbroken = (np.diff(offsets[wanted]) == steps) & (steps <= _MOST_BRIDGED_BYTES)
    bounds = [0, *(np.flatnonzero(~unbroken) + 1).tolist(), len(wanted)]
    # How far the windows around each one follow one another without a gap.
    stretch = np.concatenate(([0], np.cumsum(np.diff(offsets) != 1)))
    begins, ends = np.searchsorted(stretch, stretch), np.searchsorted(stretch, stretch, "right") - 1
    before = -1
    for start, end in pairwise(bounds):
        first, last = int(wanted[start]), int(wanted[end - 1])
        first = max(first - _MOST_MARGIN_BYTES, int(begins[first]), before + 1)
        last = min(last + _MOST_MARGIN_BYTES, int(ends[last]))
        if first <= last:  # not within the margin of the one before
            yield first, last
            before = last


def _most_correspondents(pieces: Sequence[Piece]) -> float:
    return max(piece.correspondents for piece in pieces)


def _person(correspondent: str) -> str:
    """Returns one name for the addresses of one person: case and what follows a plus sign do not make another."""
    local, _, domain = correspondent.strip().lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"
