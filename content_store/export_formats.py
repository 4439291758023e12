"""The files that exported mail is written to: one .eml a message, a maildir, or one mbox.

Belongs here: how a message is written so that a program for mail reads it, and so that writing can be killed at any point
and gone on with. Does not belong here: which messages (export.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from penguinmails.stack.errors import InputError
from penguinmails.stack.key_files import sync_folder

_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)


class Format(StrEnum):
    """How messages are written."""

    EML = "eml"
    """A folder of `<message id>.eml`, each bit for bit what was sent or received."""
    MAILDIR = "maildir"
    MBOX = "mbox"
    """mboxrd: lines that begin with `From ` get a `>`, lines end with LF."""


class MailFolder(Protocol):
    """Somewhere to write messages to."""

    def add(self, message_id: UUID, raw: bytes) -> None:
        """Writes a message; a second time changes nothing."""

    def size_bytes(self) -> int:
        """Returns how much of the file is whole messages; 0 where each message is a file."""

    def close(self) -> None:
        """Makes everything durable."""


class EmlFolder:
    """One file a message."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, message_id: UUID, raw: bytes) -> None:
        _write_whole(self._folder / f"{message_id}.eml", self._folder / f".{message_id}.part", raw)

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        sync_folder(self._folder)


class Maildir:
    """A maildir of new messages, as every mail client on Unix reads it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, message_id: UUID, raw: bytes) -> None:
        name = f"{message_id}.penguinmails"
        _write_whole(self._folder / "new" / name, self._folder / "tmp" / name, _with_lf(raw))

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        sync_folder(self._folder / "new")


class Mbox:
    """One file; what a killed writer left behind the last noted size is cut off."""

    def __init__(self, path: Path, whole_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        if self._file.seek(0, os.SEEK_END) < whole_bytes:
            self._file.close()
            raise InputError(f"file {path}", "is shorter than its progress file says", "Remove both and start again.")
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)

    def add(self, message_id: UUID, raw: bytes) -> None:  # noqa: ARG002 - as every folder
        text = _FROM_LINE.sub(rb">\1", _with_lf(raw))
        ending = b"\n" if text.endswith(b"\n") or not text else b"\n\n"
        self._file.write(b"From MAILER-DAEMON %s\n%s%s" % (_EPOCH_LINE, text, ending))

    def size_bytes(self) -> int:
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


_EPOCH_LINE = datetime(1970, 1, 1, tzinfo=UTC).strftime("%a %b %e %H:%M:%S %Y").encode()
"""The time of delivery is in the message; here stands a constant, so that an export is the same each time."""


def open_folder(kind: Format, path: Path, whole_bytes: int) -> MailFolder:
    """Opens the file or folder to write to.

    Args:
        whole_bytes: how much of an mbox earlier runs have completed.

    Raises:
        InputError: the path is something else, or an mbox is shorter than that.
    """
    makers: dict[Format, Callable[[], MailFolder]] = {
        Format.EML: lambda: EmlFolder(path),
        Format.MAILDIR: lambda: Maildir(path),
        Format.MBOX: lambda: Mbox(path, whole_bytes),
    }
    wanted_file = kind is Format.MBOX
    if path.exists() and path.is_dir() == wanted_file:
        raise InputError(f"path {path}", f"is no {'file' if wanted_file else 'folder'}", "Name another one with --to.")
    return makers[kind]()


def _with_lf(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n")


def _write_whole(path: Path, unfinished: Path, content: bytes) -> None:
    unfinished.write_bytes(content)
    unfinished.replace(path)
