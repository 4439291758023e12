"""Where mail comes from: mbox, maildir, a folder, a tar archive or a single message, read as a stream of raw messages.

Belongs here: finding out what a path is, and giving out its items one after the other with a stable name and their exact
bytes. Does not belong here: what the bytes mean (mail_parsing.py), what becomes of them (intake.py).

An mbox message is the bytes between two separator lines, without the one empty line that mbox puts before a separator.
`>From ` quoting is left as it is: undoing it could change the original. Links, devices and other special members of an
archive are passed over; names are labels only, nothing is ever written to them. What cannot be read becomes an item with
a problem, so that it is accounted for.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from penguinmails.oltp.mail_items import SourceItem, TableRows
from penguinmails.stack.errors import InputError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message that is loaded; a larger one is set aside by name, size and digest, and stays in its source."""
_CHUNK_BYTES = 1024 * 1024
_SEPARATOR = re.compile(rb"From [^\r\n]*\d{1,2}:\d{2}[^\r\n]*\d{4}")
_EMPTY_LINES = (b"\n", b"\r\n")
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)
_REST = "(the rest of the source)"


@dataclass(frozen=True)
class PathSource:
    """Mail at a path.

    Args:
        path: file or folder.
        kind: tar, mbox, maildir, folder or message.
    """

    path: Path
    kind: str

    @property
    def name(self) -> str:
        """Name under which the ledger keeps the items: the last part of the path."""
        return _text(self.path.name)

    @property
    def setup(self) -> tuple[TableRows, ...]:
        """Rows the mail needs before it is loaded: none."""
        return ()

    def items(self) -> Iterator[SourceItem]:
        """Gives out every item, once, in the order of the source.

        Raises:
            InputError: the source holds nothing at all.
        """
        readers = {"tar": _tar, "mbox": _mbox, "maildir": _maildir, "folder": _folder, "message": _single}
        empty = True
        for item in readers[self.kind](self.path):
            empty = False
            yield item
        if empty:
            raise InputError(self.name, f"holds no mail (read as {self.kind})", "Give a path that holds messages.")


def open_mail(path: str | Path) -> PathSource:
    """Finds out what `path` is and returns it as a source; reads a few bytes only.

    Raises:
        InputError: there is nothing at the path, or it cannot be read.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  # resolve() would lose the name of a link
    try:
        if path.is_dir():
            return PathSource(path, "maildir" if (path / "cur").is_dir() and (path / "new").is_dir() else "folder")
        if not path.is_file():
            raise InputError(_text(path.name) or "path", "is neither a file nor a folder", "Give the path of the mail.")
        with _open_stream(path) as stream:
            start = _first_bytes(stream)
    except OSError as error:
        raise InputError(_text(path.name), f"cannot be read ({type(error).__name__})", "Check its rights.") from None
    if _is_tar(start):
        return PathSource(path, "tar")
    return PathSource(path, "mbox" if start.startswith(b"From ") else "message")


def _tar(path: Path) -> Iterator[SourceItem]:
    try:
        with _open_stream(path) as file:
            stream = _Remembering(file)
            yield from _members(stream)
            # tarfile takes an archive that was cut between or within two headers for a whole one.
            if not stream.has_end_mark:
                yield SourceItem(_REST, b"", problem="truncated")
    except _DAMAGED:
        yield SourceItem(_REST, b"", problem="truncated")


def _members(stream: _Remembering) -> Iterator[SourceItem]:
    with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                yield _whole(_text(member.name), cast("BinaryIO", content))
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member it has seen


def _mbox(path: Path) -> Iterator[SourceItem]:
    number = 0
    collected = _Collected()
    previous_is_empty = True
    inside = False
    try:
        with _open_stream(path) as stream:
            for line in _lines(stream):
                first = not inside and line.startswith(b"From ")
                if first or (previous_is_empty and _SEPARATOR.match(line)):
                    if inside:
                        yield collected.item(f"{number:08d}", without_last_empty_line=True)
                    number += 1
                    inside = True
                    collected = _Collected()
                else:
                    collected.add(line)
                previous_is_empty = line in _EMPTY_LINES
    except _DAMAGED:
        yield collected.item(f"{number:08d}", problem="truncated")
        return
    if inside:
        yield collected.item(f"{number:08d}", without_last_empty_line=True)


def _maildir(path: Path) -> Iterator[SourceItem]:
    folders = sorted({parent.parent for parent in path.rglob("cur") if parent.is_dir()})
    for folder in folders:
        prefix = "" if folder == path else folder.relative_to(path).as_posix() + "/"
        files = [file for part in ("cur", "new") for file in (folder / part).glob("*") if _is_plain_file(file)]
        for file in sorted(files, key=lambda file: file.name):
            # The part before ':' names the message for ever; what follows are flags that change.
            yield _file(file, _text(prefix + file.name.partition(":")[0]))


def _folder(path: Path) -> Iterator[SourceItem]:
    for folder, folders, files in os.walk(path, followlinks=False):
        folders.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if _is_plain_file(file):
                yield _file(file, _text(file.relative_to(path).as_posix()))


def _single(path: Path) -> Iterator[SourceItem]:
    try:
        with _open_stream(path) as stream:
            yield _whole(_text(path.name), cast("BinaryIO", stream))
    except _DAMAGED:
        yield SourceItem(_text(path.name), b"", problem="unreadable")


def _file(file: Path, name: str) -> SourceItem:
    try:
        with file.open("rb") as stream:
            return _whole(name, stream)
    except OSError:
        return SourceItem(name, b"", problem="unreadable")


def _whole(name: str, stream: BinaryIO) -> SourceItem:
    """Reads everything, or as much as there is."""
    collected = _Collected()
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            collected.add(chunk)
    except _DAMAGED:
        return collected.item(name, problem="truncated")
    return collected.item(name)


class _Remembering:
    """A stream that remembers whether the last it gave holds the end mark of an archive: a block of zeros."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.has_end_mark = False

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if data:
            self.has_end_mark = bytes(tarfile.BLOCKSIZE) in data
        return data


class _Collected:
    """The bytes of one item; of an item that is too large only size and digest."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._digest.update(chunk)
        if self._size <= MAX_MESSAGE_BYTES:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def item(self, name: str, *, problem: str = "", without_last_empty_line: bool = False) -> SourceItem:
        if self._size > MAX_MESSAGE_BYTES:
            return SourceItem(name, None, "too_large", size_bytes=self._size, sha256=self._digest.digest())
        if without_last_empty_line and self._chunks and self._chunks[-1] in _EMPTY_LINES:
            self._chunks.pop()
        raw = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        return SourceItem(name, raw, problem)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends; a line longer than a chunk comes in several pieces."""
    while line := stream.readline(_CHUNK_BYTES):
        yield line


def _open_stream(path: Path) -> IO[bytes]:
    """Opens a file for reading, decompressed when it is a gzip, bzip2 or xz file."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if magic.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if magic == b"\xfd7zXZ\x00":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    return path.open("rb")


def _first_bytes(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(tarfile.BLOCKSIZE)
    except (EOFError, zlib.error, lzma.LZMAError, OSError):
        return b""


def _is_tar(start: bytes) -> bool:
    if len(start) < tarfile.BLOCKSIZE:
        return False
    if not start.strip(b"\0"):
        return True  # an archive without members
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _is_plain_file(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _text(name: str) -> str:
    """A file name as text that any database takes, whatever bytes the file system holds."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
