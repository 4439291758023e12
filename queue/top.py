"""`penguinmails queue top`: the queue live on a terminal, until a key ends it.

Belongs here: keys, pace, what is shown above the view. Does not belong here: the view itself (views.py), figures (probe.py).
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from penguinmails.queue.probe import QueueSnapshot, probe
from penguinmails.queue.views import status_view
from penguinmails.stack.errors import InputError, ServerError
from penguinmails.stack.stores import Stores

_QUICKEST_SECONDS, _SLOWEST_SECONDS = 0.25, 60.0
_REMEMBERED = 60
_BARS = "▁▂▃▄▅▆▇█"
_KEYS = "q quit · space hold · + faster · - slower"
_ESCAPE = "\x1b"


def watch(stores: Stores, screen: Console, seconds: float) -> None:
    """Shows the queue every `seconds` until q, Esc or Ctrl-C. A store that is away is said to be, and looked for again.

    Raises:
        InputError: there is no terminal.
    """
    if not (sys.stdin.isatty() and screen.is_terminal):
        raise InputError(
            "penguinmails queue top", "needs a terminal", "Use penguinmails queue status, or --json of it."
        )
    view = _View(seconds)
    with _single_keys() as keyboard, Live(console=screen, screen=True, auto_refresh=False) as live:
        try:
            while not view.is_over:
                if not view.is_held:
                    view.look(stores)
                live.update(view.render(), refresh=True)
                view.press(_key_within(keyboard, view.seconds))
        except KeyboardInterrupt:
            return


class _View:
    """What is on the screen, and what keys do to it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self.is_held = False
        self._snapshot: QueueSnapshot | None = None
        self._problem = ""
        self._waiting: deque[int] = deque(maxlen=_REMEMBERED)

    def look(self, stores: Stores) -> None:
        try:
            self._snapshot = probe(stores)
        except ServerError as error:
            self._problem = f"{error.thing} {error.problem}. {error.remedy}"
            return
        self._problem = ""
        self._waiting.append(self._snapshot.waiting)

    def press(self, key: str) -> None:
        match key:
            case "q" | "Q" | "\x1b":
                self.is_over = True
            case " ":
                self.is_held = not self.is_held
            case "+":
                self.seconds = max(_QUICKEST_SECONDS, self.seconds / 2)
            case "-":
                self.seconds = min(_SLOWEST_SECONDS, self.seconds * 2)

    def render(self) -> RenderableType:
        parts: list[RenderableType] = [self._header()]
        if self._problem:
            parts.append(Text(f"AWAY  {self._problem}", style="bold red"))
        if self._snapshot is not None:
            parts.append(Text(f"waiting {sparkline(self._waiting)} at most {max(self._waiting):,}", style="cyan"))
            parts.append(status_view(self._snapshot))
        return Group(*parts)

    def _header(self) -> Text:
        at = f"{self._snapshot.probed_at:%Y-%m-%d %H:%M:%S} UTC" if self._snapshot else "…"
        pace = "held" if self.is_held else f"every {self.seconds:g} s"
        return Text(f"PenguinMails queue  {at}  {pace}   {_KEYS}", style="reverse")


def sparkline(values: deque[int]) -> str:
    """Returns the values as bars, the largest one full."""
    largest = max(values, default=0)
    return "".join(_BARS[round(value / largest * (len(_BARS) - 1))] if largest else _BARS[0] for value in values)


@contextmanager
def _single_keys() -> Iterator[int]:
    """Keys come one by one and are not shown; the terminal is as before afterwards."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _key_within(keyboard: int, seconds: float) -> str:
    """Returns the key that is pressed within `seconds`, or nothing; a lost terminal is as good as q."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([keyboard], [], [], left)[0]:
            return ""
        typed = os.read(keyboard, 16).decode(errors="replace")
        if not typed:
            return "q"
        if (
            not typed.startswith(_ESCAPE) or typed == _ESCAPE
        ):  # arrows and the like begin with Esc and mean nothing here
            return typed[0]
    return ""
