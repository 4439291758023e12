"""Files that hold a secret, mostly one key of 32 random bytes in base64.

They are made once and never overwritten, appear whole or not at all, are on disk before anybody uses them, and belong to
their owner alone (folder 0700, files 0600).

Belongs here: reading and making such a file. Does not belong here: what a key is for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
import threading
from pathlib import Path

from penguinmails.stack.errors import SettingsError

KEY_BYTES = 32


def read_key_file(path: Path) -> bytes | None:
    """Returns the key in a file, None when there is no file.

    Raises:
        SettingsError: it holds no key, others can read it, or we cannot.
    """
    thing = f"key file {path}"
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SettingsError(thing, "can be read by others", f"chmod 600 {path}")
            secret = base64.b64decode(file.read().strip(), validate=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(thing, f"cannot be read ({error.strerror})", "Mend its rights.") from error
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError(thing, f"does not hold {KEY_BYTES} bytes in base64", "Bring back the file that it was.")
    return secret


def make_key_file(path: Path) -> bytes:
    """Makes the file unless it is there; returns its key, also when another process made it first.

    Raises:
        SettingsError: it cannot be made, or what is there is no key.
    """
    try:
        write_once(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
        raise SettingsError(f"key file {path}", problem, "Make room or mend the folder's rights.") from error
    secret = read_key_file(path)
    if secret is None:
        raise SettingsError(f"key file {path}", "vanished while it was made", "Run again.")
    return secret


def write_once(path: Path, content: bytes) -> None:
    """Makes a file of its owner's alone, and its folder; does nothing when it is there, also made by another process just now.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(unfinished)
    unfinished.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes sure that a folder's new names outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
