"""Extraction against its peers in one run: `python bench/olap/peers.py`; prints one JSON document.

Everybody moves the same columns of the same events from the same server (started for this run in a temporary home) into
Parquet with zstd, and where they can, to Arrow that is thrown away; each run is a process of its own, whose processor time
and peak memory are counted, and everybody takes turns. The peers (peers.txt) are installed into an environment of their own,
kept in the git-ignored folder `.penguinmails/bench-olap-peers` and made anew when the pins change. `--prepare` only makes that
environment. A peer that cannot run here stands in the output with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PINS = HERE / "peers.txt"
ENVIRONMENT = HERE.parents[1] / ".penguinmails" / "bench-olap-peers"
OWN = {
    "penguinmails, to the object store": "object_store",
    "penguinmails, to files": "files",
    "penguinmails, to Arrow": "arrow",
}
PEERS = (
    "duckdb_extension",
    "connectorx_to_arrow",
    "connectorx",
    "psycopg_to_arrow",
    "psycopg",
    "dlt_connectorx",
    "dlt_pyarrow",
    "sling",
)
_SECONDS = 1_800.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*OWN, *PEERS], default=[*OWN, *PEERS])
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
        subprocess.run(
            [interpreter, "-m", "pip", "install", "--quiet", "--quiet", "-r", PINS], check=True, stdout=sys.stderr
        )
        shutil.copyfile(PINS, installed)  # last: a killed installation is made again
    return interpreter


def run(interpreter: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everybody on servers of this run, in turns."""
    from generating import connect, count
    from homes import own_home

    with own_home(events=arguments.events) as (stores, home):
        environment = os.environ | {"PEER_POSTGRES_URL": login_of_a_peer(home)}
        with connect(stores.oltp_url) as connection:
            events = count(connection, "events")
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
        for _ in range(arguments.repeat):
            for name, runs in found.items():
                if any("error" in run for run in runs):
                    continue
                print(f"measuring {name}", file=sys.stderr)
                if name in OWN:
                    command = [sys.executable, HERE / "own_extraction.py", OWN[name]]
                else:
                    command = [interpreter, HERE / "peer_process.py", name]
                runs.append(one_run(command, environment, events))
    pins = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    return {
        "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg(), "python": platform.python_version()},
        "events": events,
        "peers": pins,
        "results": {name: _medians(runs) for name, runs in found.items()},
    }


def one_run(command: list[Any], environment: dict[str, str], events: int) -> dict[str, Any]:
    """Returns what a process says of its run, or why it could not run."""
    with tempfile.TemporaryDirectory(prefix="penguinmails-bench-") as folder:
        try:
            done = subprocess.run(
                [*command, folder],
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {_SECONDS:g} s"}
    if done.returncode:
        return {"error": (done.stderr or done.stdout).strip()[-400:]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if answer["events"] != events:
        return {"error": f"moved {answer['events']:,} of {events:,} events"}
    return answer


def login_of_a_peer(home: Path) -> str:
    """Makes a login that reads every tenant, as an operator would for such a tool; returns its URL."""
    from urllib.parse import quote

    import psycopg
    from psycopg import sql

    from penguinmails.stack import embedded

    server, password = embedded.ensure(home), secrets.token_hex(16)
    with psycopg.connect(server.postgres.superuser_dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE bench_peer LOGIN BYPASSRLS PASSWORD {} IN ROLE pm_reader").format(
                sql.Literal(password)
            )
        )
        admin.execute("GRANT CONNECT ON DATABASE oltp TO bench_peer")
    return f"postgresql://bench_peer:{password}@/oltp?host={quote(str(server.postgres.socket_folder), safe='')}"


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [run for run in runs if "error" in run]
    if failed:
        return failed[0]
    return {
        "events_per_second": round(statistics.median(run["events"] / run["seconds"] for run in runs)),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "client_processor_seconds": statistics.median(run["processor_seconds"] for run in runs),
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
        "runs": len(runs),
    }


if __name__ == "__main__":
    main()
