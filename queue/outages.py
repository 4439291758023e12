"""Saying once that something went away, and once that it is back: for whoever reads the log of a process.

Belongs here: those two lines. Does not belong here: what a process does meanwhile.
"""

from __future__ import annotations

import logging
import time

from penguinmails.stack.errors import PlatformError

_log = logging.getLogger(__name__)


class Outage:
    """One thing a process needs.

    Args:
        process: who says it.
        thing: what is away.
    """

    def __init__(self, process: str, thing: str) -> None:
        self._process = process
        self._thing = thing
        self._since: float | None = None

    def began(self, error: Exception) -> None:
        """It did not do its part. Only the first time is said."""
        if self._since is None:
            self._since = time.monotonic()
            # Of foreign errors only the kind: their text may hold an address or a password.
            what = f"{error.thing} {error.problem}" if isinstance(error, PlatformError) else type(error).__name__
            _log.warning("%s: %s is away (%s); trying again until it is back", self._process, self._thing, what)

    def ended(self) -> None:
        """It does its part."""
        if self._since is not None:
            _log.warning("%s: %s is back after %.1f s", self._process, self._thing, time.monotonic() - self._since)
            self._since = None
