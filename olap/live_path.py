"""How the live path is doing, as others can see it: each follower leaves a note after each round.

A follower that stops in good order takes its note away; one that is killed leaves it, so that its silence is seen. With
several followers the newest note counts: one that works is enough. Belongs here: the notes and what they say. Does not
belong here: following (following.py), telling people (pipelines).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
import psutil

from penguinmails.stack.stores import Stores

LAG_LIMIT_SECONDS = 30.0
"""The product's wish for freshness; a round of the live path takes a few seconds."""


@dataclass(frozen=True)
class LivePathState:
    """What the followers of this machine's marts left behind.

    Args:
        followers: notes of followers that run or were killed.
        lag_seconds: how long ago the published marts were known to be complete.
    """

    followers: int
    lag_seconds: float

    @property
    def keeps_up(self) -> bool:
        return self.lag_seconds <= LAG_LIMIT_SECONDS

    @property
    def remedy(self) -> str | None:
        """What to do; None while it keeps up."""
        if self.keeps_up:
            return None
        return (
            f"No follower has completed the published marts for {self.lag_seconds:,.0f} s. Look at the output of 'penguinmails "
            "marts follow' and start it again; to do without it, start it once and stop it with Ctrl-C."
        )


class Note:
    """The note of this process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, complete_at: datetime) -> None:
        """Notes up to which moment the published marts are complete now."""
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_bytes(orjson.dumps({"complete_at": complete_at}))
        unfinished.replace(self._path)


@contextmanager
def noted(stores: Stores, started_at: datetime) -> Iterator[Note]:
    """Keeps a note for as long as this process follows, and takes away those of processes that are gone."""
    folder = _folder(stores)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if not path.stem.isdigit() or not psutil.pid_exists(int(path.stem)):
            path.unlink(missing_ok=True)
    path = folder / f"{os.getpid()}.json"
    note = Note(path)
    note.write(started_at)
    yield note
    path.unlink(missing_ok=True)


def live_path_state(stores: Stores, now: datetime) -> LivePathState | None:
    """Returns how the live path is doing; None when nobody follows and nobody was killed while following."""
    moments = []
    for path in _folder(stores).glob("*.json"):
        with suppress(FileNotFoundError):  # it stopped meanwhile
            moments.append(datetime.fromisoformat(orjson.loads(path.read_bytes())["complete_at"]))
    return LivePathState(len(moments), (now - max(moments)).total_seconds()) if moments else None


def _folder(stores: Stores) -> Path:
    return stores.marts_folder / "following"
