"""Taking large attachments out of a message, and putting them back bit for bit.

Base64 loses nothing but how its lines were broken. So a block of it can be kept decoded, once for all the messages it
occurs in, if encoding it again with the same length of line gives the same bytes. That is tried before anything is
written; a block that does not come back as it was stays in its message.

Belongs here: cutting and joining bytes. Does not belong here: where attachments are stored (shared_attachments.py),
attachments as people see them (message_parts.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penguinmails.content_store.errors import ContentDamaged

LEAST_ATTACHMENT_BYTES = 16 << 10
"""Decoded. Smaller ones are not worth a row of the index and a second read."""
_ENCODED = re.compile(rb"^content-transfer-encoding:[ \t]*\"?base64\b", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_END_OF_BLOCK = re.compile(rb"\n(?:--|\r?\n)")
_MOST_HEADER_BYTES = 64 << 10
_COUNT = struct.Struct("<H")
_CUT = struct.Struct("<QQIB")
_LINE_ENDINGS = {1: b"\n", 2: b"\r\n"}
_MOST_CUTS = 1_000
_PIECE_CHARACTERS = 1 << 18
"""Attachments are encoded piece by piece: as one list of lines, one of 100 MB would take twice that again."""
_MARK = struct.Struct("<16sI")
MARK_BYTES = _MARK.size


@dataclass(frozen=True, slots=True)
class Cut:
    """One attachment taken out: where it was, and how it was written."""

    offset: int
    """In what is left of the message."""
    line_characters: int
    line_ending: int
    content: bytes


@dataclass(frozen=True, slots=True)
class SplitMessage:
    """A message without its large attachments, and those."""

    rest: bytes
    cuts: tuple[Cut, ...]

    def to_bytes(self) -> bytes:
        """Returns what stands in the message's frame (docs/content-format.md)."""
        recipe = [_CUT.pack(cut.offset, len(cut.content), cut.line_characters, cut.line_ending) for cut in self.cuts]
        return b"".join([_COUNT.pack(len(recipe)), *recipe, self.rest])

    def abridged(self, secret: bytes) -> bytes:
        """Returns the message with a mark in each attachment's place: as small as `rest`, and with the same parts.

        Args:
            secret: 16 bytes that nobody can have written into a message.
        """
        parts, done = list[bytes](), 0
        for number, cut in enumerate(self.cuts):
            parts += [self.rest[done : cut.offset], base64.b64encode(_MARK.pack(secret, number))]
            done = cut.offset
        return b"".join([*parts, self.rest[done:]])


def new_secret() -> bytes:
    """Returns what `SplitMessage.abridged` takes."""
    return os.urandom(16)


def marked_cut(decoded: bytes, secret: bytes) -> int | None:
    """Returns which cut's mark an attachment of an abridged message begins with; None where it was never taken out."""
    return int(_MARK.unpack_from(decoded)[1]) if decoded.startswith(secret) and len(decoded) >= MARK_BYTES else None


def split_message(raw: bytes) -> SplitMessage | None:
    """Takes the large attachments out; None where there are none that come back bit for bit."""
    if len(raw) < LEAST_ATTACHMENT_BYTES or b"base64" not in raw.lower():  # ten times faster than the pattern
        return None
    cuts, kept, done, kept_bytes, place = list[Cut](), list[bytes](), 0, 0, 0
    while len(cuts) < _MOST_CUTS and (header := _ENCODED.search(raw, place)):
        place = header.end()
        end_of_headers = _END_OF_HEADERS.search(raw, place, place + _MOST_HEADER_BYTES)
        if end_of_headers is None:
            continue
        start = end_of_headers.end()
        after = _END_OF_BLOCK.search(raw, start)
        end = after.start() if after else len(raw)
        while end > start and raw[end - 1] in b"\r\n":
            end -= 1
        place = end
        cut = _cut(raw, start, end, kept_bytes + start - done)
        if cut is not None:
            kept.append(raw[done:start])
            kept_bytes += start - done
            done = end
            cuts.append(cut)
    if not cuts:
        return None
    split = SplitMessage(b"".join([*kept, raw[done:]]), tuple(cuts))
    joined = _joined(split.to_bytes(), [cut.content for cut in cuts], thing="message")
    return split if _are(joined, memoryview(raw)) else None


def join_message(frame: bytes, contents: Sequence[bytes | None], *, thing: str) -> bytes:
    """Returns the message; an attachment that is None leaves its place empty.

    Args:
        frame: what `SplitMessage.to_bytes` returned.
        contents: the attachments, decoded, in the recipe's order.

    Raises:
        ContentDamaged: these are not the frame and the attachments of one message.
    """
    return b"".join(_joined(frame, contents, thing=thing))


def _joined(frame: bytes, contents: Sequence[bytes | None], *, thing: str) -> Iterator[bytes]:
    """Yields the message piece by piece."""
    try:
        (count,) = _COUNT.unpack_from(frame)
        recipe = [_CUT.unpack_from(frame, _COUNT.size + number * _CUT.size) for number in range(count)]
    except struct.error:
        recipe = []
    if len(recipe) != len(contents) or not recipe:
        raise ContentDamaged(thing, "names other attachments than the index", "Run 'penguinmails content check'.")
    rest, done = frame[_COUNT.size + count * _CUT.size :], 0
    for (offset, size_bytes, line_characters, line_ending), content in zip(recipe, contents, strict=True):
        if not done <= offset <= len(rest) or (content is not None and len(content) != size_bytes):
            raise ContentDamaged(thing, "does not fit its attachments", "Run 'penguinmails content verify'.")
        yield rest[done:offset]
        if content is not None:
            yield from _encoded(content, line_characters, line_ending)
        done = offset
    yield rest[done:]


def _cut(raw: bytes, start: int, end: int, offset: int) -> Cut | None:
    newline = raw.find(b"\n", start, end)
    first_end = end if newline < 0 else newline
    line_ending = 2 if newline > start and raw[newline - 1] == ord("\r") else 1
    characters = first_end - start - (line_ending == 2)
    if (end - start) * 3 // 4 < LEAST_ATTACHMENT_BYTES or not 0 < characters < 1 << 32:
        return None
    block = memoryview(raw)[start:end]
    try:
        content = binascii.a2b_base64(block)  # forgiving: whether it comes back as it was is seen right below
    except binascii.Error:
        return None
    if len(content) < LEAST_ATTACHMENT_BYTES or not _are(_encoded(content, characters, line_ending), block):
        return None
    return Cut(offset, characters, line_ending, content)


def _encoded(content: bytes, line_characters: int, line_ending: int) -> Iterator[bytes]:
    """Yields the lines of an attachment in base64, many at a time."""
    ending, step = _LINE_ENDINGS.get(line_ending, b"\n"), max(1, line_characters)
    # Four lines are a whole number of groups: four characters for three bytes each.
    piece_bytes, view = max(1, _PIECE_CHARACTERS // (4 * step)) * 3 * step, memoryview(content)
    for start in range(0, len(content), piece_bytes):
        text = base64.b64encode(view[start : start + piece_bytes])
        if start:
            yield ending
        yield ending.join([text[place : place + step] for place in range(0, len(text), step)])


def _are(pieces: Iterator[bytes], expected: memoryview) -> bool:
    """Returns whether the pieces, one after the other, are these bytes."""
    place = 0
    for piece in pieces:
        if expected[place : place + len(piece)] != piece:
            return False
        place += len(piece)
    return place == len(expected)
