"""Being told instead of asking: how relay and worker hear at once that there is something to do.

A word may come late, twice, or never; whoever waits for one looks by itself as well, a little later. Nothing is decided by it.

Belongs here: waiting for PostgreSQL's and for Redis's word, and how long to wait at most. Does not belong here: what is done then
(relay.py, worker.py), who says it (the trigger `jobs_are_new`; lua/push.lua and lua/reserve.lua).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import cast

import redis

from penguinmails.queue.configuration import Configuration
from penguinmails.queue.connections import Connection
from penguinmails.queue.executors import Executor
from penguinmails.queue.fast_lane import wake_key
from penguinmails.queue.handlers import PROTOCOL

_MEMORY_SECONDS = 1.0
"""For how long what happened decides how often to look."""
_LOADED_TURNS = 20
"""So many turns with work in a row, and a relay is not waiting for anything: nobody need tell it."""
_FULL_SECONDS = 0.05
"""What Redis holds lasts longer than this, however many workers there are."""
_BLOCK_SECONDS = 1.0
"""How long one request for a word is open."""
_RECONNECT_SECONDS = 0.5
_WORD = "1"


class Pace:
    """How long to wait between two looks: briefly while work turns up that nobody announced."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._busy_until = 0.0

    def hurry(self) -> None:
        """Work came without a word, or waits for what no word will tell: look often for a while."""
        self._busy_until = time.monotonic() + _MEMORY_SECONDS

    @property
    def seconds(self) -> float:
        is_busy = time.monotonic() < self._busy_until
        return self._configuration.poll_seconds if is_busy else self._configuration.idle_poll_seconds


class NewJobs:
    """PostgreSQL's word to a relay that jobs were inserted.

    While it listens it holds a lock that says so, and every transaction that inserts jobs notifies. Under load it does not: there
    is something to do at every turn anyway, and producers are spared the notification.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._pace = Pace(configuration)
        self._listens_on: Connection | None = None
        self._turns_with_work = 0
        self._moved_at = 0.0
        self._loaded_until = 0.0
        self._looked_by_itself = False

    def after_turn(self, connection: Connection, *, moved: int, is_work_left: bool, is_full: bool) -> None:
        """Returns when it is time for the next turn.

        Args:
            connection: the relay's own, idle; another than the last time when that was lost.
            moved: jobs handed over in this turn.
            is_work_left: whether jobs were ready that could not all be handed over: no word will say when they can.
            is_full: whether that was because Redis holds enough for now.
        """
        now = time.monotonic()
        if moved:
            self._moved_at = now
            self._turns_with_work += 1
            is_loaded = self._turns_with_work >= _LOADED_TURNS
            if self._looked_by_itself:
                self._pace.hurry()
            self._looked_by_itself = False
        else:
            self._turns_with_work = 0
            is_loaded = is_work_left and now - self._moved_at < _MEMORY_SECONDS
        if is_loaded:
            self._loaded_until = now + _MEMORY_SECONDS
            self._pace.hurry()
            self._stop_listening(connection)
        if not moved:
            self._wait(connection, max(_FULL_SECONDS, self._pace.seconds) if is_full else self._pace.seconds)

    def _wait(self, connection: Connection, seconds: float) -> None:
        if self._listens_on is not connection and time.monotonic() >= self._loaded_until:
            connection.execute(PROTOCOL["listen_for_jobs"])
            connection.execute(PROTOCOL["say_that_a_relay_listens"])
            self._listens_on = connection
            return  # what came just before is found by one more look
        self._looked_by_itself = not list(connection.notifies(timeout=seconds, stop_after=1))

    def _stop_listening(self, connection: Connection) -> None:
        if self._listens_on is connection:
            connection.execute(PROTOCOL["say_that_no_relay_listens"])
        self._listens_on = None


class HandOffs:
    """Redis's word to a worker that jobs were handed over: a token in the list `wake:<queue>`, for one worker each.

    It is asked for by a thread of its own: the worker may wait for its handlers too, and a server that is gone holds up nobody
    else.
    """

    def __init__(self, client: redis.Redis, queue_names: Sequence[str], configuration: Configuration) -> None:
        self._client = client
        self._wake_lists = [wake_key(name) for name in queue_names]
        self._configuration = configuration
        self._pace = Pace(configuration)
        self._looked_by_itself = False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._is_wanted = threading.Event()
        self._has_ended = threading.Event()
        self._heard_from: str | None = None
        threading.Thread(target=self._follow, name="word of hand-offs", daemon=True).start()

    def after_turn(self, executor: Executor, *, moved: int, is_gathering: bool) -> None:
        """Returns when it is time for the next turn: an outcome or a word has come, or it is time to look anyway.

        Args:
            moved: jobs settled and started in this turn.
            is_gathering: whether outcomes are waiting for others: the next one is then no reason to look.
        """
        if moved:
            if self._looked_by_itself:
                self._pace.hurry()
            self._looked_by_itself = False
            return
        if executor.room() > 0:
            self._is_wanted.set()
        sources = () if is_gathering else executor.sources()
        seconds = self._configuration.poll_seconds if is_gathering else self._pace.seconds
        self._looked_by_itself = not wait([*sources, self._read_end], seconds) and not is_gathering
        heard_from = self._take()
        if heard_from is not None and executor.room() <= 0:
            with suppress(redis.RedisError):  # as good as a word that never came
                self._client.rpush(heard_from, _WORD)

    def close(self) -> None:
        """The thread ends by itself when its request does, and gives back what it hears until then."""
        self._has_ended.set()
        self._is_wanted.set()
        os.close(self._read_end)

    def _take(self) -> str | None:
        """Returns the list the word came from, None when none has come."""
        with suppress(BlockingIOError):
            os.read(self._read_end, 1)
        heard_from, self._heard_from = self._heard_from, None
        return heard_from

    def _follow(self) -> None:
        while self._is_wanted.wait() and not self._has_ended.is_set():
            try:
                self._ask()
            except redis.RedisError:
                self._has_ended.wait(_RECONNECT_SECONDS)
        os.close(self._write_end)
        self._client.close()

    def _ask(self) -> None:
        answer = cast("list[bytes] | None", self._client.blpop(self._wake_lists, timeout=_BLOCK_SECONDS))
        if answer is None:
            return
        if self._has_ended.is_set():
            self._client.rpush(answer[0], _WORD)
            return
        self._is_wanted.clear()
        self._heard_from = answer[0].decode()
        with suppress(BrokenPipeError):  # closed in this instant
            os.write(self._write_end, b"!")
