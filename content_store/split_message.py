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
import re
import struct
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Cut:
    """One attachment taken out: where it was, and how it was written."""

    offset: int
    """In what is left of the message."""
    line_characters: int
    line_ending: int
    content: bytes

    def encoded(self) -> bytes:
        return _encoded(self.content, self.line_characters, self.line_ending)


@dataclass(frozen=True, slots=True)
class SplitMessage:
    """A message without its large attachments, and those."""

    rest: bytes
    cuts: tuple[Cut, ...]

    def to_bytes(self) -> bytes:
        """Returns what stands in the message's frame (docs/content-format.md)."""
        recipe = [_CUT.pack(cut.offset, len(cut.content), cut.line_characters, cut.line_ending) for cut in self.cuts]
        return b"".join([_COUNT.pack(len(recipe)), *recipe, self.rest])


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
        block = raw[start : after.start() if after else len(raw)].rstrip(b"\r\n")
        place = start + len(block)
        cut = _cut(block, kept_bytes + start - done)
        if cut is not None:
            kept.append(raw[done:start])
            kept_bytes += start - done
            done = place
            cuts.append(cut)
    if not cuts:
        return None
    split = SplitMessage(b"".join([*kept, raw[done:]]), tuple(cuts))
    joined = join_message(split.to_bytes(), [cut.content for cut in cuts], thing="message")
    return split if joined == raw else None


def join_message(frame: bytes, contents: Sequence[bytes | None], *, thing: str) -> bytes:
    """Returns the message; an attachment that is None leaves its place empty.

    Args:
        frame: what `SplitMessage.to_bytes` returned.
        contents: the attachments, decoded, in the recipe's order.

    Raises:
        ContentDamaged: these are not the frame and the attachments of one message.
    """
    try:
        (count,) = _COUNT.unpack_from(frame)
        recipe = [_CUT.unpack_from(frame, _COUNT.size + number * _CUT.size) for number in range(count)]
    except struct.error:
        recipe = []
    if len(recipe) != len(contents) or not recipe:
        raise ContentDamaged(thing, "names other attachments than the index", "Run 'penguinmails content check'.")
    rest, parts, done = frame[_COUNT.size + count * _CUT.size :], list[bytes](), 0
    for (offset, size_bytes, line_characters, line_ending), content in zip(recipe, contents, strict=True):
        if not done <= offset <= len(rest) or (content is not None and len(content) != size_bytes):
            raise ContentDamaged(thing, "does not fit its attachments", "Run 'penguinmails content verify'.")
        parts += [rest[done:offset], b"" if content is None else _encoded(content, line_characters, line_ending)]
        done = offset
    return b"".join([*parts, rest[done:]])


def _cut(block: bytes, offset: int) -> Cut | None:
    first, newline, _ = block.partition(b"\n")
    line_ending = 2 if first.endswith(b"\r") else 1
    characters = len(first) - (line_ending == 2)
    if len(block) * 3 // 4 < LEAST_ATTACHMENT_BYTES or not 0 < characters < 1 << 32:
        return None
    text = block.replace(_LINE_ENDINGS[line_ending], b"") if newline else block
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if len(content) < LEAST_ATTACHMENT_BYTES or _encoded(content, characters, line_ending) != block:
        return None
    return Cut(offset, characters, line_ending, content)


def _encoded(content: bytes, line_characters: int, line_ending: int) -> bytes:
    text, ending = base64.b64encode(content), _LINE_ENDINGS.get(line_ending, b"\n")
    step = max(1, line_characters)
    return ending.join([text[start : start + step] for start in range(0, len(text), step)])
