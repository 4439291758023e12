"""One process at a time builds or publishes.

Belongs here: the lock file. It is the kernel's lock, so it goes with its process however that ends. Readers of the
published marts never need it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penguinmails.olap.errors import BuildBusy

WAIT_SECONDS = 600.0
_LOOK_AGAIN_SECONDS = 0.05


@contextmanager
def one_at_a_time(folder: Path, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Holds the build lock of `folder`.

    Args:
        wait_seconds: how long to wait for another process to finish.

    Raises:
        BuildBusy: the other process took longer; names its number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    give_up_at = time.monotonic() + wait_seconds
    descriptor = os.open(folder / "build.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _taken(descriptor):
            if time.monotonic() >= give_up_at:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise BuildBusy(
                    "the marts",
                    f"are being built or published by process {holder} and were not free after {wait_seconds:g} s",
                    "Wait for it to finish, then run again.",
                )
            time.sleep(_LOOK_AGAIN_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
