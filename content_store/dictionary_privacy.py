"""What never stands in a dictionary, however many correspondents have it: addresses, names, numbers of people, tokens.

Belongs here: finding that in a text. Does not belong here: how many people share a piece (shared_windows.py).
"""

from __future__ import annotations

import email.errors
import email.header
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LOCAL_PART = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+=-"
_MOST_LOCAL_PART_BYTES = 256
_AT_DOMAIN = re.compile(rb"@[A-Za-z0-9.-]+")
_ADDRESS = re.compile(rb"[A-Za-z0-9._%+=-]+@[A-Za-z0-9.-]+")
# One pattern each: Python finds the places where one may begin faster than where one of several may.
_NEVER = [
    re.compile(rb"<[^<>\s@]{1,250}@[^<>\s]{1,250}>"),  # message ids, also of hosts without a name
    re.compile(rb"(?<![A-Za-z0-9_+=-])(?=[A-Za-z_+=-]*[0-9])[A-Za-z0-9_+=-]{24,}"),  # ids, keys, signatures
    re.compile(rb"(?<![0-9])[0-9]{8,}"),
    re.compile(
        rb"(?<![0-9])[0-9]{2,4}\)?[ ./-]{1,2}[0-9]{3,4}[ .-]?[0-9]{3,5}"
    ),  # telephone numbers, and some of hosts
    re.compile(rb"=\?[^?\s]{1,40}\?[BbQq]\?[^?\s]*\?="),  # encoded words (RFC 2047): mostly names
]
_WORD = re.compile(rb"[A-Za-z\x80-\xff]{4,}")
_ADDRESS_LINE = re.compile(rb"^(from|to|cc|reply-to|sender):(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_WORDS_FILE = Path(__file__).parent / "dictionaries" / "ordinary-words.txt"


def names_in(correspondent: str, raw: bytes) -> set[bytes]:
    """Returns the words, in lower case, of the names that a message's headers give its correspondent and people in Cc.

    So are the words of an address like first.last@example.org. Words of fewer than four letters and ordinary English
    words (Will, Mark, News) do not count: they say nothing of anybody.
    """
    end = _END_OF_HEADERS.search(raw)
    headers = raw[: end.start()] if end else raw
    address = correspondent.strip().lower().encode("utf-8", "replace")
    local_part = address.partition(b"@")[0]
    found = set(_words(local_part)) if re.search(rb"[._]", local_part) else set[bytes]()
    for name, value in _ADDRESS_LINE.findall(headers):
        if name.lower() == b"cc" or (address and address in value.lower()):
            found.update(_words(_ADDRESS.sub(b" ", _decoded(value))))
    return found - ordinary_words()


def personal_places(text: bytes, names: set[bytes]) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of everything in a text that must not get into a dictionary."""
    for domain in _AT_DOMAIN.finditer(text):
        before = text[max(0, domain.start() - _MOST_LOCAL_PART_BYTES) : domain.start()]
        local_part_bytes = len(before) - len(before.rstrip(_LOCAL_PART))
        if local_part_bytes:
            yield domain.start() - local_part_bytes, domain.end()
    for pattern in _NEVER:
        yield from (found.span() for found in pattern.finditer(text))
    if names:
        yield from (found.span() for found in _WORD.finditer(text.lower()) if found[0] in names)


@cache
def ordinary_words() -> frozenset[bytes]:
    """Returns common English words, one list with the bootstrap dictionary's."""
    return frozenset(_WORDS_FILE.read_bytes().split())


def _words(text: bytes) -> Iterator[bytes]:
    return (found.lower() for found in _WORD.findall(text))


def _decoded(value: bytes) -> bytes:
    """Returns a header's value with encoded words (RFC 2047) also in their own characters."""
    if b"=?" not in value:
        return value
    try:
        parts = email.header.decode_header(value.decode("ascii", "replace"))
    except (email.errors.HeaderParseError, ValueError):
        return value
    texts = [part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part, _ in parts]
    return b" ".join([*texts, *(_as_utf8(part, charset) for part, charset in parts)])


def _as_utf8(part: bytes | str, charset: str | None) -> bytes:
    if isinstance(part, str):
        return b""
    try:
        return part.decode(charset or "ascii", "replace").encode("utf-8", "replace")
    except LookupError:  # no such charset
        return b""
