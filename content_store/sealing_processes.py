"""Processes that seal messages and train dictionaries for a hand-over, so that it uses more than one core.

They hold nothing that lasts: no connection, no claim, no file. Everything durable is done by the process that started
them, so whatever happens to one of them costs only the messages in hand. Each ends when the pipe to its starter does,
however that one ended; a session of their own keeps Ctrl-C for the starter, which stops them.

Keys travel through that pipe alone, never through arguments, environment or files.

Belongs here: both ends of the pipe. Does not belong here: what sealing is (sealed_batch.py), training
(dictionary_training.py).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

from penguinmails.content_store.codec import Dictionary
from penguinmails.content_store.dictionary_samples import Sample, train_here
from penguinmails.content_store.errors import HandOverStopped, SealingProcessEnded
from penguinmails.content_store.rare_collections import rare_collections
from penguinmails.content_store.sealed_batch import SealedBatch, UnsealedBatch, seal_batch
from penguinmails.content_store.sealing import TenantKey
from penguinmails.stack.errors import PlatformError

_WORTH_IT_BYTES = 2 << 20
"""Starting two processes takes as long as compressing so much; less is sealed where it is."""
_MOST_MESSAGES, _MOST_BYTES = 400, 1 << 20
"""Of one order: long enough that the pipe is a small part of it, short enough that all processes end together."""
_MOST_SENT_BYTES = 4 << 20
"""Bigger messages are sealed where they are: a second process would hold them a second time."""
_DICTIONARIES_KEPT = 8
_STOP_SECONDS = 5.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Seal:
    batch: UnsealedBatch
    key: TenantKey
    dictionary_id: int
    level: int


@dataclass(frozen=True)
class _Train:
    samples: Sequence[Sample] = field(repr=False)
    dictionary_id: int
    level: int


class _DictionaryWanted:
    """Answer of a process that does not have the dictionary of its order yet."""


class SealingProcesses:
    """A few such processes, started when there is enough to do. Safe to share between threads."""

    def __init__(self, processes: int) -> None:
        """Starts nothing yet; with fewer than two, everything is done in this process."""
        self._processes = processes
        self._lock = threading.Lock()
        self._started = list[_Process]()
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None
        self._stopped = False

    def __enter__(self) -> SealingProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the processes at once; who waits for one of them gets SealingProcessEnded."""
        with self._lock:
            self._stopped = True
            for process in self._started:
                process.stop()
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)

    def seal(self, batch: UnsealedBatch, key: TenantKey, dictionary: Dictionary) -> SealedBatch:
        """Does what `seal_batch` does, a part of the batch in each process.

        Raises:
            SealingProcessEnded: a process was killed, or `stop` was called.
            ContentDamaged: as `seal_batch`.
        """
        sent_bytes = sum(size for content in batch.contents if (size := len(content)) <= _MOST_SENT_BYTES)
        threads = self._begin(sent_bytes)
        if threads is None:
            return seal_batch(batch, key, dictionary)
        parts = list(batch.slices(most_messages=_MOST_MESSAGES, most_bytes=_MOST_BYTES))
        sent = {
            place: self._submit(threads, part, key, dictionary)
            for place, part in enumerate(parts)
            if len(part.contents[0]) <= _MOST_SENT_BYTES
        }
        made = SealedBatch()
        for place, part in enumerate(parts):
            waiting: Future[SealedBatch] | None = sent.pop(place, None)
            try:
                made.extend(waiting.result() if waiting else seal_batch(part, key, dictionary))
            except CancelledError:
                raise HandOverStopped from None
        return made

    def _submit(
        self, threads: ThreadPoolExecutor, part: UnsealedBatch, key: TenantKey, dictionary: Dictionary
    ) -> Future[SealedBatch]:
        with self._lock:  # not between the end of the processes and that of the threads
            if self._stopped:
                raise HandOverStopped
            return threads.submit(self._in_one, lambda process: process.seal(part, key, dictionary))

    def train(self, samples: Sequence[Sample], dictionary_id: int, *, level: int) -> Dictionary | None:
        """Does what `train_dictionary` does, in one of the processes.

        Raises:
            SealingProcessEnded: as `seal`.
        """
        if self._begin(sum(len(sample.raw) for sample in samples)) is None:
            return train_here(samples, dictionary_id, level=level)
        return self._in_one(lambda process: process.train(samples, dictionary_id, level))

    def _begin(self, size_bytes: int) -> ThreadPoolExecutor | None:
        """Returns the threads that wait for the processes; None where these were not worth starting yet."""
        with self._lock:
            if self._stopped:
                raise HandOverStopped
            if self._threads is None and self._processes > 1 and size_bytes >= _WORTH_IT_BYTES:
                for _ in range(self._processes):
                    self._started.append(_Process())
                    self._free.put(self._started[-1])
                self._threads = ThreadPoolExecutor(self._processes, thread_name_prefix="sealing")
            return self._threads

    def _in_one(self, work: Callable[[_Process], _Answer]) -> _Answer:
        process = self._free.get()
        try:
            return work(process)
        finally:
            self._free.put(process)


class _Process:
    """This end of the pipe. Used by one thread at a time, but for `stop`."""

    def __init__(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._connection = ours

    def seal(self, batch: UnsealedBatch, key: TenantKey, dictionary: Dictionary) -> SealedBatch:
        answer = self._ask(_Seal(batch, key, dictionary.dictionary_id, dictionary.level))
        if isinstance(answer, _DictionaryWanted):
            answer = self._ask(dictionary)
        return self._expected(answer, SealedBatch)

    def train(self, samples: Sequence[Sample], dictionary_id: int, level: int) -> Dictionary | None:
        answer = self._ask(_Train(samples, dictionary_id, level))
        return None if answer is None else self._expected(answer, Dictionary)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(_STOP_SECONDS)

    def _ask(self, order: object) -> Any:
        try:
            self._connection.send(order)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            raise SealingProcessEnded.with_code(self._process.returncode) from error

    @staticmethod
    def _expected(answer: Any, kind: type[_Answer]) -> _Answer:
        if isinstance(answer, PlatformError):
            raise answer
        if not isinstance(answer, kind):
            raise TypeError(f"a sealing process answered with {type(answer).__name__}")
        return answer


def serve(descriptor: int) -> None:
    """Does what comes through the pipe until it ends: the other end."""
    dictionaries = dict[int, Dictionary]()
    with rare_collections(), Connection(descriptor) as connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            order = connection.recv()
            try:
                answer = _done(order, connection, dictionaries)
            except PlatformError as error:
                answer = error
            connection.send(answer)


def _done(order: _Seal | _Train, connection: Connection, dictionaries: dict[int, Dictionary]) -> object:
    if isinstance(order, _Train):
        return train_here(order.samples, order.dictionary_id, level=order.level)
    if order.dictionary_id not in dictionaries:
        connection.send(_DictionaryWanted())
        while len(dictionaries) >= _DICTIONARIES_KEPT:
            dictionaries.pop(next(iter(dictionaries)))
        dictionaries[order.dictionary_id] = connection.recv()
    return seal_batch(order.batch, order.key, dictionaries[order.dictionary_id].at_level(order.level))
