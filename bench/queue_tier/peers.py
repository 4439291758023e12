"""The queue against its peers in one run: `python bench/queue_tier/peers.py`; prints one JSON document.

Same machine, same servers (started for this run in a temporary home), same durability (fsync, append-only file every second),
same payload, as many processes each (ours: one relay, the others workers). Three measures: throughput; the hand-off at 100 jobs a
second to one waiting worker, from before the job is enqueued to the first line of its handler; and how long after `kill -9` of a
worker its job runs again by itself, with every default as it is. The peers (peers.txt) are installed into an environment of their
own, kept in the git-ignored folder `.penguinmails/bench-peers` and made anew when the pins change. `--prepare` only makes that
environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PINS = HERE / "peers.txt"
ENVIRONMENT = HERE.parents[1] / ".penguinmails" / "bench-peers"
PEERS = ("procrastinate", "pgqueuer", "rq", "arq", "dramatiq")
MEASURES = ("throughput", "hand_off", "recovery")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--peer-jobs", type=int, default=10_000, help="fewer, because most of them take far longer")
    parser.add_argument("--processes", type=int, default=4, help="of each: workers, ours with the relay among them")
    parser.add_argument("--hand-off-seconds", type=float, default=20.0)
    parser.add_argument(
        "--recovery-at-most-seconds", type=float, default=120.0, help="how long a recovery is waited for"
    )
    parser.add_argument("--only", choices=MEASURES, action="append")
    parser.add_argument(
        "--peer", dest="peers", choices=PEERS, action="append", help="measure this peer only (repeatable)"
    )
    parser.add_argument("--prepare", action="store_true", help="make the peers' environment and end")
    arguments = parser.parse_args()
    interpreter = peers_interpreter()
    if not arguments.prepare:
        json.dump(run(interpreter, arguments), sys.stdout, indent=2)


def peers_interpreter() -> Path:
    """Returns the interpreter of an environment that holds exactly the pinned peers."""
    interpreter, installed = ENVIRONMENT / "bin" / "python", ENVIRONMENT / PINS.name
    if not installed.exists() or installed.read_text() != PINS.read_text():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "-r", PINS], check=True, stdout=sys.stderr)
        shutil.copyfile(PINS, installed)  # last: a killed installation is made again
    return interpreter


def run(interpreter: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything on servers of its own."""
    from servers import machine, own_servers, versions

    from penguinmails.stack import embedded

    wanted = arguments.only or MEASURES
    results: dict[str, dict[str, Any]] = {}
    with own_servers() as (stores, home):
        server = embedded.ensure(home)
        peers = [Peer(interpreter, name, server, home, number) for number, name in enumerate(arguments.peers or PEERS)]
        results["penguinmails"] = _own(stores, home, arguments, wanted)
        for peer in peers:
            print(f"measuring {peer.name}", file=sys.stderr, flush=True)
            results[peer.name] = peer.measure(arguments, wanted)
        if "recovery" in wanted:
            print("waiting for recoveries", file=sys.stderr, flush=True)
            with ThreadPoolExecutor(len(peers)) as threads:  # they mostly wait
                recoveries = threads.map(lambda peer: peer.recovery(arguments.recovery_at_most_seconds), peers)
            for peer, recovered in zip(peers, recoveries, strict=True):
                results[peer.name]["recovery"] = recovered
        about = {"machine": machine(), "servers": versions(stores)}
    pins = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    return about | {"processes": arguments.processes, "peers": pins, "results": results}


def _own(stores: Any, home: Path, arguments: argparse.Namespace, wanted: Any) -> dict[str, Any]:
    from own import drain_rates, hand_off, recovery

    found: dict[str, Any] = {}
    workers = max(1, arguments.processes - 1)
    if "throughput" in wanted:
        for name, in_children in (("throughput", False), ("throughput_with_child_processes", True)):
            found[name] = drain_rates(stores, arguments.jobs, workers=workers, in_children=in_children)
    if "hand_off" in wanted:
        found["hand_off"] = hand_off(stores, home, jobs_per_second=100, seconds=arguments.hand_off_seconds)
    if "recovery" in wanted:
        found["recovery"] = recovery(stores, home, rounds=1)
    return found


class Peer:
    """One peer, with a database and a Redis database of its own."""

    def __init__(self, interpreter: Path, name: str, server: Any, folder: Path, number: int) -> None:
        self.name = name
        self._interpreter = interpreter
        self._folder = folder
        self._server = server
        self._redis_url = server.redis_url().get_secret_value().replace("db=0", f"db={number + 1}")
        self._make_stores("throughput")

    def measure(self, arguments: argparse.Namespace, wanted: Any) -> dict[str, Any]:
        """Returns throughput and hand-off; an error is a result too."""
        found: dict[str, Any] = {}
        if "throughput" in wanted:
            found["throughput"] = self._guarded(lambda: self._throughput(arguments.peer_jobs, arguments.processes))
        if "hand_off" in wanted:
            self._make_stores("hand_off")
            found["hand_off"] = self._guarded(lambda: self._hand_off(arguments.hand_off_seconds))
        return found

    def recovery(self, at_most_seconds: float) -> dict[str, Any]:
        """Returns how long after the kill of its worker a job runs again, None when it did not within the time."""
        self._make_stores("recovery")
        return self._guarded(lambda: self._recovery(at_most_seconds))

    def _throughput(self, jobs: int, processes: int) -> dict[str, Any]:
        enqueued = self._step("enqueue", "--jobs", str(jobs))
        workers = [self._start("work") for _ in range(processes)]
        try:
            worked = [_answer(worker) for worker in workers]
        finally:
            for worker, _ in workers:
                worker.kill()
        seconds = max(each["ended"] for each in worked) - min(each["began"] for each in worked)
        return {
            "jobs": jobs,
            "enqueue_jobs_per_second": jobs / (enqueued["ended"] - enqueued["began"]),
            "drain_jobs_per_second": jobs / seconds,
        }

    def _hand_off(self, seconds: float) -> dict[str, Any]:
        from own import percentiles

        journal, jobs = self._journal("hand-off"), int(100 * seconds)
        with self._serving():
            self._step("trickle", "--jobs", "1", "--journal", str(journal))
            _until_lines(journal, 1, 60)  # it is up
            self._step("trickle", "--jobs", str(jobs), "--rate", "100", "--journal", str(journal))
            _until_lines(journal, jobs + 1, 60)
        return percentiles("to_handler", [began - enqueued for enqueued, began in _lines(journal)[1:]])

    def _recovery(self, at_most_seconds: float) -> dict[str, Any]:
        journal = self._journal("recovery")
        with self._serving() as worker:
            self._step("one", "--journal", str(journal))
            _until_lines(journal, 1, 60)
            worker.kill()
            worker.wait(60)
            killed_at = time.time()
        with self._serving():
            try:
                _until_lines(journal, 2, at_most_seconds)
            except TimeoutError:
                return {"recovery_seconds": None, "waited_seconds": at_most_seconds}
        return {"recovery_seconds": _lines(journal)[1][1] - killed_at}

    def _guarded(self, measure: Any) -> dict[str, Any]:
        try:
            found: dict[str, Any] = measure()
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            return {"error": str(error)[-500:]}
        return found

    def _step(self, step: str, *more: str) -> dict[str, float]:
        return _answer(self._start(step, *more))

    @contextmanager
    def _serving(self) -> Iterator[subprocess.Popen[bytes]]:
        worker, _ = self._start("serve")
        try:
            yield worker
        finally:
            worker.kill()
            worker.wait(60)

    def _start(self, step: str, *more: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Starts a step; what it says goes to a file, because a pipe that nobody reads holds it up."""
        output = Path(tempfile.mkstemp(dir=self._folder, prefix=f"{self.name}-{step}-")[1])
        command = [str(self._interpreter), str(HERE / "peer_process.py"), self.name, step, *more]
        environment = dict(os.environ) | {"PEER_POSTGRES_URL": self._postgres_url, "PEER_REDIS_URL": self._redis_url}
        with output.open("wb") as out, output.with_suffix(".err").open("wb") as errors:
            return subprocess.Popen(command, env=environment, cwd=HERE, stdout=out, stderr=errors), output

    def _make_stores(self, purpose: str) -> None:
        """An empty database and an empty Redis for one measurement."""
        import psycopg
        import redis

        database = f"peer_{self.name}_{purpose}"
        with psycopg.connect(self._server.postgres.superuser_dsn(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {database} OWNER penguinmails_queue".encode())
        client = redis.Redis.from_url(self._redis_url)
        client.flushdb()
        client.close()
        self._postgres_url = self._server.postgres_url(database, login="penguinmails_queue").get_secret_value()
        self._step("prepare")

    def _journal(self, name: str) -> Path:
        journal = self._folder / f"journal-{self.name}-{name}"
        journal.touch()
        return journal


def _answer(started: tuple[subprocess.Popen[bytes], Path]) -> dict[str, float]:
    process, output = started
    try:
        code = process.wait(300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if code:
        raise RuntimeError(output.with_suffix(".err").read_text()[-500:])
    answer: dict[str, float] = json.loads(output.read_text().splitlines()[-1])
    return answer


def _lines(journal: Path) -> list[tuple[float, float]]:
    return [(float(line.split()[0]), float(line.split()[1])) for line in journal.read_text().splitlines()]


def _until_lines(journal: Path, count: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while len(_lines(journal)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{journal.name} has no {count} lines after {seconds:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
