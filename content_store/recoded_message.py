"""Keeping the base64 of a message decoded, and putting it back bit for bit.

Base64 makes a third more bytes of what it encodes and hides from a compressor what is alike. It loses nothing but how its
lines were broken, so a block of it can be kept decoded together with the lengths of its lines: a small one in its place in
the message, a large one (an attachment) apart, once for all the messages it occurs in. That it comes back as it was is
tried before anything is written; a block that does not stays as it is.

Belongs here: decoding and encoding, the recipe between them. Does not belong here: where attachments are stored
(shared_attachments.py), attachments as people see them (message_parts.py).
"""

from __future__ import annotations

import base64
import binascii
import itertools
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.sealing import Form

LEAST_ATTACHMENT_BYTES = 16 << 10
"""Decoded. Smaller ones are not worth a row of the index and a second read: they are decoded in their place."""
LEAST_BLOCK_BYTES = 128
"""Decoded. Of smaller blocks (signatures, mostly) little is won."""
_MOST_BLOCKS = 1_000
_MOST_RAGGED_BYTES = 4 << 20
"""Encoded. Of longer blocks only those with lines of one length are decoded: lines are looked at many at a time."""
_ENCODED = re.compile(rb"^content-transfer-encoding:[ \t]*\"?base64\b", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADERS = re.compile(rb"\r?\n(?:\r?\n)+")
_END_OF_BLOCK = re.compile(rb"\n(?:--|\r?\n)")
_CHARACTERS = re.compile(rb"[A-Za-z0-9+/\r\n]*={0,2}")
_MOST_HEADER_BYTES = 64 << 10
_LINE_ENDINGS = {1: b"\n", 2: b"\r\n"}
_PIECE_CHARACTERS = 1 << 18
"""Blocks are encoded piece by piece: as one list of lines, one of 100 MB would take twice that again."""
_MOST_NUMBER_BYTES = 9
_MARK = struct.Struct("<16sI")
MARK_BYTES = _MARK.size
_SPLIT_COUNT = struct.Struct("<H")
_SPLIT_CUT = struct.Struct("<QQIB")

Lines = tuple[tuple[int, int], ...]
"""How base64 was broken into lines: (characters a line, lines) for each stretch of lines of one length."""


@dataclass(frozen=True, slots=True)
class Block:
    """Base64 of a message, decoded, and how it was written."""

    start: int
    end: int
    """Where it stood in the message; the end of its last line is not part of it."""
    line_ending: int
    lines: Lines
    content: bytes

    @property
    def is_apart(self) -> bool:
        """Whether it is an attachment that is stored apart."""
        return len(self.content) >= LEAST_ATTACHMENT_BYTES

    def to_bytes(self, distance: int) -> bytes:
        """Returns the block's part of the recipe.

        Args:
            distance: bytes of the message between the block before and this one.
        """
        numbers = [distance, 2 * len(self.content) + self.is_apart, self.line_ending, len(self.lines)]
        return b"".join(map(_number, [*numbers, *itertools.chain.from_iterable(self.lines)]))


@dataclass(frozen=True, slots=True)
class RecodedMessage:
    """A message and the base64 of it that is worth decoding."""

    raw: bytes
    blocks: tuple[Block, ...]

    @property
    def attachments(self) -> tuple[bytes, ...]:
        """What is stored apart, decoded."""
        return tuple(block.content for block in self.blocks if block.is_apart)

    def to_bytes(self) -> bytes:
        """Returns what stands in the message's frame (docs/content-format.md)."""
        recipe, text, done = [_number(len(self.blocks))], list[bytes](), 0
        for block in self.blocks:
            recipe.append(block.to_bytes(block.start - done))
            text += [self.raw[done : block.start], b"" if block.is_apart else block.content]
            done = block.end
        return b"".join([*recipe, *text, self.raw[done:]])

    def abridged(self, secret: bytes) -> bytes:
        """Returns the message with a mark in the place of each attachment stored apart, and with the same parts.

        Args:
            secret: 16 bytes that nobody can have written into a message.
        """
        parts, done = list[bytes](), 0
        for number, block in enumerate(block for block in self.blocks if block.is_apart):
            parts += [self.raw[done : block.start], base64.b64encode(_MARK.pack(secret, number))]
            done = block.end
        return b"".join([*parts, self.raw[done:]]) if done else self.raw


def new_secret() -> bytes:
    """Returns what `RecodedMessage.abridged` takes."""
    return os.urandom(16)


def marked_attachment(decoded: bytes, secret: bytes) -> int | None:
    """Returns which attachment's mark one of an abridged message begins with; None where it was never taken out."""
    return int(_MARK.unpack_from(decoded)[1]) if decoded.startswith(secret) and len(decoded) >= MARK_BYTES else None


def recode_message(raw: bytes) -> RecodedMessage | None:
    """Decodes the base64 of a message; None where there is none that comes back bit for bit and makes it smaller."""
    if b"base64" not in raw.lower():  # ten times faster than the pattern
        return None
    blocks, place = list[Block](), 0
    while len(blocks) < _MOST_BLOCKS and (header := _ENCODED.search(raw, place)):
        place = header.end() + _MOST_HEADER_BYTES
        end_of_headers = _END_OF_HEADERS.search(raw, header.end(), place)
        if end_of_headers is None:
            continue
        place = end_of_headers.end()
        block = _block(raw, place)
        if block is not None:
            blocks.append(block)
            place = block.end
    if not blocks:
        return None
    recoded = RecodedMessage(raw, tuple(blocks))
    recipe = Recipe.read(recoded.to_bytes(), Form.RECODED, thing="message")
    return recoded if _are(recipe.pieces(recoded.attachments), memoryview(raw)) else None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block goes."""

    offset: int
    """In the text."""
    size_bytes: int
    is_apart: bool
    line_ending: int
    lines: Lines


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a message is put together again."""

    places: tuple[_Place, ...]
    text: memoryview
    thing: str

    @property
    def attachments(self) -> int:
        """How many attachments it takes."""
        return sum(place.is_apart for place in self.places)

    @classmethod
    def read(cls, frame: bytes, form: Form, *, thing: str) -> Recipe:
        """Returns what `RecodedMessage.to_bytes` wrote, or the version of it before.

        Args:
            frame: of a message whose form says `is_recipe`.
            thing: what it is, for the error.

        Raises:
            ContentDamaged: it is no recipe.
        """
        try:
            places, begin = _split_places(frame) if form is Form.SPLIT else _recoded_places(frame)
        except (IndexError, ValueError, struct.error) as error:
            raise ContentDamaged(thing, "holds no recipe of a message", "Run 'penguinmails content verify'.") from error
        recipe = cls(tuple(places), memoryview(frame)[begin:], thing)
        end = 0
        for place in recipe.places:
            characters = sum(length * count for length, count in place.lines)
            none_empty = all(length and count for length, count in place.lines)
            if place.offset < end or not none_empty or characters != -(-place.size_bytes // 3) * 4:
                recipe._does_not_fit()
            end = place.offset + (0 if place.is_apart else place.size_bytes)
        if end > len(recipe.text):
            recipe._does_not_fit()
        return recipe

    def join(self, attachments: Sequence[bytes | None]) -> bytes:
        """Returns the message; an attachment that is None leaves its place empty.

        Args:
            attachments: what is stored apart, decoded, in the order of the message.

        Raises:
            ContentDamaged: these are not the attachments of this message.
        """
        return b"".join(self.pieces(attachments))

    def pieces(self, attachments: Sequence[bytes | None]) -> Iterator[bytes | memoryview]:
        """Yields what `join` returns piece by piece."""
        if len(attachments) != self.attachments:
            raise ContentDamaged(
                self.thing, "names other attachments than the index", "Run 'penguinmails content check'."
            )
        done, apart = 0, iter(attachments)
        for place in self.places:
            yield self.text[done : place.offset]
            done = place.offset
            content: bytes | memoryview | None
            if place.is_apart:
                content = next(apart)
            else:
                content = self.text[done : done + place.size_bytes]
                done += place.size_bytes
            if content is None:
                continue
            if len(content) != place.size_bytes:
                self._does_not_fit()
            yield from _encoded(content, place.lines, place.line_ending)
        yield self.text[done:]

    def _does_not_fit(self) -> None:
        raise ContentDamaged(self.thing, "does not fit its attachments", "Run 'penguinmails content verify'.")


def _recoded_places(frame: bytes) -> tuple[list[_Place], int]:
    """Returns the places, and where the text begins."""
    numbers = _Numbers(frame)
    places, done = list[_Place](), 0
    for _ in range(numbers.next()):
        distance, size, line_ending, stretches = (numbers.next() for _ in range(4))
        lines = tuple((numbers.next(), numbers.next()) for _ in range(stretches))
        size_bytes, is_apart = divmod(size, 2)
        places.append(_Place(done + distance, size_bytes, bool(is_apart), _known(line_ending), lines))
        done += distance + (0 if is_apart else size_bytes)
    return places, numbers.place


def _split_places(frame: bytes) -> tuple[list[_Place], int]:
    """Returns the places, and where the text begins, as frames of the form before say it: all attachments are apart."""
    (count,) = _SPLIT_COUNT.unpack_from(frame)
    begin = _SPLIT_COUNT.size + count * _SPLIT_CUT.size
    places = [
        _Place(offset, size_bytes, True, _known(line_ending), _even_lines(size_bytes, characters))
        for offset, size_bytes, characters, line_ending in _SPLIT_CUT.iter_unpack(frame[_SPLIT_COUNT.size : begin])
    ]
    if len(places) != count or not places:
        raise ValueError
    return places, begin


def _known(line_ending: int) -> int:
    if line_ending not in _LINE_ENDINGS:
        raise ValueError
    return line_ending


def _number(value: int) -> bytes:
    """Returns a number in as few bytes as it needs, seven bits each, the lowest first (LEB128)."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


class _Numbers:
    """Reads numbers, one after the other."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self.place = 0

    def next(self) -> int:
        """Returns the next number.

        Raises:
            IndexError, ValueError: there is none.
        """
        value = 0
        for shift in range(0, 7 * _MOST_NUMBER_BYTES, 7):
            byte = self._frame[self.place]
            self.place += 1
            value |= (byte & 0x7F) << shift
            if byte <= 0x7F:
                return value
        raise ValueError


def _block(raw: bytes, start: int) -> Block | None:
    """Returns the block of base64 that begins there, if it comes back as it was and decoding it saves anything."""
    limit = _END_OF_BLOCK.search(raw, start)
    found = _CHARACTERS.match(raw, start, limit.start() if limit else len(raw))
    end = found.end() if found else start
    if end < len(raw) and raw[end] not in b"\r\n":  # the last line goes on with something else
        end = max(start, raw.rfind(b"\n", start, end))
    while end > start and raw[end - 1] in b"\r\n":
        end -= 1
    if (end - start) * 3 // 4 < LEAST_BLOCK_BYTES:
        return None
    newline = raw.find(b"\n", start, end)
    first_end = end if newline < 0 else newline
    line_ending = 2 if newline > start and raw[newline - 1] == ord("\r") else 1
    block = _even_block(raw, start, end, line_ending, first_end - start - (line_ending == 2))
    if block is None and end - start <= _MOST_RAGGED_BYTES:
        block = _ragged_block(raw, start, end, line_ending)
    if block is None or len(block.content) < LEAST_BLOCK_BYTES:
        return None
    return block if len(block.to_bytes(start)) + len(block.content) < block.end - start else None


def _even_block(raw: bytes, start: int, end: int, line_ending: int, characters: int) -> Block | None:
    """Returns the block if all its lines but the last have so many characters."""
    written = memoryview(raw)[start:end]
    try:
        content = binascii.a2b_base64(written)  # forgiving: whether it comes back as it was is seen right below
    except binascii.Error:
        return None
    lines = _even_lines(len(content), characters)
    if not _are(_encoded(content, lines, line_ending), written):
        return None
    return Block(start, end, line_ending, lines, content)


def _ragged_block(raw: bytes, start: int, end: int, line_ending: int) -> Block | None:
    """Returns the block, or the whole lines of its beginning that can be decoded by themselves."""
    ending = _LINE_ENDINGS[line_ending]
    written = list(itertools.takewhile(_is_one_line, raw[start:end].split(ending)))
    # Four characters are three bytes: it can end after any line up to which there are whole groups of them.
    so_far = list(itertools.accumulate(map(len, written)))
    count = next((number for number in range(len(so_far), 0, -1) if so_far[number - 1] % 4 == 0), 0)
    text = b"".join(written[:count])
    try:
        content = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    if not count or base64.b64encode(content) != text:
        return None
    lengths = itertools.groupby(map(len, written[:count]))
    lines = tuple((characters, sum(1 for _ in stretch)) for characters, stretch in lengths)
    end = start + so_far[count - 1] + (count - 1) * len(ending)
    return Block(start, end, line_ending, lines, content)


def _is_one_line(text: bytes) -> bool:
    return bool(text) and b"\n" not in text and b"\r" not in text


def _even_lines(size_bytes: int, characters: int) -> Lines:
    if characters <= 0:
        return ()
    whole, left = divmod(-(-size_bytes // 3) * 4, characters)
    return tuple(stretch for stretch in ((characters, whole), (left, 1)) if all(stretch))


def _encoded(content: bytes | memoryview, lines: Lines, line_ending: int) -> Iterator[bytes]:
    """Yields the lines of a block in base64, many at a time."""
    ending, view, place = _LINE_ENDINGS[line_ending], memoryview(content), 0
    for characters, count in lines:
        at_once = max(1, _PIECE_CHARACTERS // characters)
        for first in range(0, count, at_once):
            size = characters * min(at_once, count - first)
            # Three bytes are four characters; a line may begin and end within them.
            group, within = divmod(place, 4)
            text = base64.b64encode(view[3 * group : -(-(place + size) // 4) * 3])[within : within + size]
            if place:
                yield ending
            yield ending.join([text[begin : begin + characters] for begin in range(0, size, characters)])
            place += size


def _are(pieces: Iterable[bytes | memoryview], expected: memoryview) -> bool:
    """Returns whether the pieces, one after the other, are these bytes."""
    place = 0
    for piece in pieces:
        if expected[place : place + len(piece)] != piece:
            return False
        place += len(piece)
    return place == len(expected)
