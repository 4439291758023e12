"""Seeding by several processes at once, each with a connection of its own.

Belongs here: starting them, hearing what they wrote, ending them. Does not belong here: what they write (seeding_batch.py).

Making rows takes one core and storing them another, so that while one process makes, the server stores what the other one
made. They are programs of their own rather than forks: a fork would share its parent's connection and its threads. A process
whose parent is gone ends with its next report; nothing but whole batches is ever there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import orjson
from pydantic import SecretStr

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.seeding_batch import write_batch
from penguinmails.oltp.seeding_scales import Seeding
from penguinmails.stack.errors import PlatformError, ServerError

_MOST = 4
"""More would wait for one another: all of them extend the same few tables."""
Batch = Sequence[int]
"""Places of the tenants that are written together."""


@dataclass(frozen=True)
class BatchWritten:
    """What a process reports.

    Args:
        tenants: tenants of the batch, written now or there already.
        rows: rows written, by table.
    """

    tenants: int
    rows: Counter[str]


def usual_processes() -> int:
    """As many as the machine has cores, within reason."""
    return min(os.cpu_count() or 1, _MOST)


def write_by_processes(
    url: SecretStr, seeding: Seeding, batches: Sequence[Batch], processes: int
) -> Generator[BatchWritten]:
    """Shares the batches out among processes; gives out each batch when it is written. Closing it ends them.

    Raises:
        ServerError: a process could not go on; the batches that were given out stay.
    """
    with ExitStack() as running:
        # One pipe for all of them: it ends when the last one does. A report is shorter than what a pipe takes at once.
        readable, writable = os.pipe()
        reports = running.enter_context(os.fdopen(readable))
        with os.fdopen(writable, "w") as heard:
            started = [_start(running, heard.fileno()) for _ in range(processes)]
        for number, process in enumerate(started):
            _hand_over(process, url, seeding, batches[number::processes])
        for line in reports:
            report = orjson.loads(line)
            if "problem" in report:
                raise ServerError(**report)
            yield BatchWritten(report["tenants"], Counter(report["rows"]))
        codes = [process.wait() for process in started]
        if any(codes):
            remedy = "What they had written stays: run the same again to go on."
            raise ServerError("processes of the seeding", f"ended with the codes {codes}", remedy)


def _start(running: ExitStack, reports: int) -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C reaches the parent only, which ends it.
    command = [sys.executable, "-P", "-m", __name__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=reports, process_group=0)
    running.callback(_end, process)
    return process


def _hand_over(process: subprocess.Popen[bytes], url: SecretStr, seeding: Seeding, batches: Sequence[Batch]) -> None:
    """Tells a process what to do on its standard input: other users of the machine can read a command line."""
    job = {"url": url.get_secret_value(), "scale": seeding.scale, "number": seeding.number, "batches": batches}
    with suppress(BrokenPipeError), process.stdin as standard_input:  # type: ignore[union-attr]  # it was asked for
        standard_input.write(orjson.dumps(job))  # a process that is gone already is found by the code it ended with


def _end(process: subprocess.Popen[bytes]) -> None:
    # Not SIGTERM: Dagster in the background of a script ignores it, and what it starts does so too. Half a batch is never there.
    process.kill()
    process.wait()


def main() -> None:
    """Writes the batches named on standard input, one transaction each, and reports each on standard output."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more: the parent is gone
    job = orjson.loads(sys.stdin.buffer.read())
    seeding = Seeding(job["scale"], job["number"])
    try:
        with connect(SecretStr(job["url"]), Role.LOADER) as connection:
            for places in job["batches"]:
                _report({"tenants": len(places), "rows": write_batch(connection, seeding, places)})
    except PlatformError as error:
        _report({"thing": error.thing, "problem": error.problem, "remedy": error.remedy})


def _report(report: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(report) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
