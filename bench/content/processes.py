"""What a run takes of the machine: processor time and memory of this process, its helpers and the embedded servers."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import psutil

_EVERY_SECONDS = 0.1
_SERVERS = {"postgres": "postgresql", "rclone": "object_store"}


class Watch:
    """Use as a context manager around the run; the figures are there at its end."""

    def __init__(self, home: str) -> None:
        """`home` is the platform's folder, by which its servers are known from others."""
        self._home = home
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_memory_bytes = 0
        """Resident memory of this process and its helpers together; what they share counts for each of them."""
        self.processor_seconds: dict[str, float] = {}

    def __enter__(self) -> Watch:
        self._before = self._processor_seconds()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._processor_seconds()
        self._ended.set()
        self._thread.join()
        self.processor_seconds = {name: after[name] - self._before[name] for name in after}

    def _look(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            used = sum(process.memory_info().rss for process in self._own())
            self.peak_memory_bytes = max(self.peak_memory_bytes, used)

    def _own(self) -> Iterator[psutil.Process]:
        me = psutil.Process()
        yield me
        with contextlib.suppress(psutil.Error):
            yield from (child for child in me.children() if child.name() not in _SERVERS and child.is_running())

    def _processor_seconds(self) -> dict[str, float]:
        mine = os.times()
        seconds = {"this_process": mine.user + mine.system, "helpers": mine.children_user + mine.children_system}
        seconds |= dict.fromkeys(_SERVERS.values(), 0.0)
        for server in psutil.process_iter(["name", "cmdline"]):
            kind = _SERVERS.get(server.info["name"])
            if kind and any(self._home in argument for argument in server.info["cmdline"] or []):
                with contextlib.suppress(psutil.Error):
                    seconds[kind] += _with_children(server)
        return seconds


def _with_children(server: psutil.Process) -> float:
    own = server.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in server.children():
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            seconds += times.user + times.system
    return float(seconds)
