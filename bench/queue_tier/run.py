"""The queue against its peers in one run: `python bench/queue_tier/run.py --peers-python PATH`; prints one JSON document.

Same machine, same servers (started for this run in a temporary home), same durability (fsync, append-only file), empty jobs, two
worker processes each. PATH is the interpreter of an environment with procrastinate, pgqueuer, asyncpg, rq, arq and
dramatiq[redis]; without it only our own queue is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg

HERE = Path(__file__).resolve().parent
PEERS = ("procrastinate", "pgqueuer", "rq", "arq", "dramatiq")
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--peer-jobs", type=int, default=10_000, help="fewer, because most of them take far longer")
    parser.add_argument("--peers-python", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penguinmails-bench-") as folder:
        os.environ["PENGUINMAILS_HOME"] = folder
        report = run(Path(folder), arguments)
    json.dump(report, sys.stdout, indent=2)


def run(home: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything on servers of its own."""
    import own

    from penguinmails.queue.schema import migrate
    from penguinmails.stack import embedded
    from penguinmails.stack.stores import resolve

    results: dict[str, Any] = {}
    try:
        stores = resolve()
        migrate(stores)
        for name, in_children in (("penguinmails, in process", False), ("penguinmails, child processes", True)):
            results[name] = own.measure(stores, arguments.jobs, workers=WORKERS, in_children=in_children)
        if arguments.peers_python:
            server = embedded.ensure(home)
            for peer in PEERS:
                results[peer] = _peer(server, peer, arguments)
    finally:
        embedded.stop(home)
    machine = {"cores": os.cpu_count(), "load_average": os.getloadavg(), "python": platform.python_version()}
    return {"machine": machine, "workers": WORKERS, "results": results}


def _peer(server: Any, peer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    environment = dict(os.environ) | _addresses(server, peer)
    command = [arguments.peers_python, str(HERE / "peers.py"), peer]
    more = ["--jobs", str(arguments.peer_jobs)]

    def start(step: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, step, *more],
            env=environment,
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(process: subprocess.Popen[str]) -> dict[str, float]:
        output, errors = process.communicate(timeout=900)
        if process.returncode:
            raise RuntimeError(errors[-500:])
        answer: dict[str, float] = json.loads(output.splitlines()[-1])
        return answer

    try:
        enqueued = finish(start("enqueue"))
        worked = [finish(process) for process in [start("work") for _ in range(WORKERS)]]
    except (RuntimeError, json.JSONDecodeError, IndexError) as error:
        return {"error": str(error)}
    seconds = max(each["ended"] for each in worked) - min(each["began"] for each in worked)
    return {
        "enqueue_jobs_per_second": arguments.peer_jobs / (enqueued["ended"] - enqueued["began"]),
        "drain_jobs_per_second": arguments.peer_jobs / seconds,
    }


def _addresses(server: Any, peer: str) -> dict[str, str]:
    """A database and an empty Redis for one peer."""
    import redis

    with psycopg.connect(server.postgres.superuser_dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE peer_{peer} OWNER penguinmails_queue".encode())
    url = server.redis_url().get_secret_value()
    client = redis.Redis.from_url(url)
    client.flushall()
    client.close()
    postgres = server.postgres_url(f"peer_{peer}", login="penguinmails_queue").get_secret_value()
    return {"PEER_POSTGRES_URL": postgres, "PEER_REDIS_URL": url}


if __name__ == "__main__":
    main()
