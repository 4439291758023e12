"""The queue against its peers in one run: `python bench/queue_tier/peers.py`; prints one JSON document.

Same machine, same servers (started for this run in a temporary home), same durability (fsync, append-only file), empty jobs, as
many worker processes each. The peers (peers.txt) are installed into an environment of their own, kept in the git-ignored folder
`.penguinmails/bench-peers` and made anew when the pins change. `--prepare` only makes that environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PINS = HERE / "peers.txt"
ENVIRONMENT = HERE.parents[1] / ".penguinmails" / "bench-peers"
PEERS = ("procrastinate", "pgqueuer", "rq", "arq", "dramatiq")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--peer-jobs", type=int, default=10_000, help="fewer, because most of them take far longer")
    parser.add_argument("--workers", type=int, default=3)
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
    from own import drain_rates
    from servers import machine, own_servers

    from penguinmails.stack import embedded

    results: dict[str, Any] = {}
    with own_servers() as (stores, home):
        for name, in_children in (("penguinmails, in process", False), ("penguinmails, child processes", True)):
            results[name] = drain_rates(stores, arguments.jobs, workers=arguments.workers, in_children=in_children)
        server = embedded.ensure(home)
        for peer in PEERS:
            print(f"measuring {peer}", file=sys.stderr)
            results[peer] = _peer(interpreter, peer, arguments, dict(os.environ) | _addresses(server, peer))
    pins = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    return {"machine": machine(), "workers": arguments.workers, "peers": pins, "results": results}


def _peer(
    interpreter: Path, peer: str, arguments: argparse.Namespace, environment: dict[str, str]
) -> dict[str, float | str]:
    def start(step: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [interpreter, HERE / "peer_process.py", peer, step, "--jobs", str(arguments.peer_jobs)],
            env=environment,
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(process: subprocess.Popen[str]) -> dict[str, float]:
        output, errors = process.communicate(timeout=300)
        if process.returncode:
            raise RuntimeError(errors[-500:])
        answer: dict[str, float] = json.loads(output.splitlines()[-1])
        return answer

    processes: list[subprocess.Popen[str]] = []
    try:
        enqueued = finish(start("enqueue"))
        processes = [start("work") for _ in range(arguments.workers)]
        worked = [finish(process) for process in processes]
    except (RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        return {"error": str(error)}
    finally:
        for process in processes:
            process.kill()
    seconds = max(each["ended"] for each in worked) - min(each["began"] for each in worked)
    return {
        "enqueue_jobs_per_second": arguments.peer_jobs / (enqueued["ended"] - enqueued["began"]),
        "drain_jobs_per_second": arguments.peer_jobs / seconds,
    }


def _addresses(server: Any, peer: str) -> dict[str, str]:
    """A database and an empty Redis for one peer."""
    import psycopg
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
