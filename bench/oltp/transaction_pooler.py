"""The tenancy API behind a real transaction pooler: no context reaches the next transaction, and 1,000 sessions at 1,000/s.

    python bench/oltp/transaction_pooler.py [--sessions 1000] [--rate 1000] [--seconds 20] [--sealed]
        [--pgbouncer PROGRAM] [--pooler transaction|transaction-prepared]

Needs pgbouncer (Debian: apt-get install pgbouncer; 1.21 or newer to keep prepared statements, which is what is measured unless
--pooler transaction) and a seeded database (penguinmails oltp seed). Starts a pgbouncer of its own in front of the OLTP
database, in transaction mode with 20 connections of the server, and stops it.
First sessions are killed in the middle of a transaction and every connection is asked whose it believes to be; then
each of the sessions, with its own connection to the pooler, does the documented mix (pooled_load.py) once a second in an open
loop: a latency counts from the moment its transaction was due. With --sealed the database asks for signed contexts
meanwhile. Prints one JSON document; exit code 1 when a context leaked or sessions wait for ever. Takes a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pooled_load import SAMPLES, TENANTS, contexts_as, one_transaction, run_all
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from pydantic import SecretStr

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.context_seals import signer_of
from penguinmails.oltp.contexts import State
from penguinmails.oltp.tenancy import Pooler, open_pool, tenant_session
from penguinmails.stack.stores import Stores, resolve

SERVER_CONNECTIONS = 20
KEEPS_PREPARED_STATEMENTS_SINCE = (1, 21)
MAX_PREPARED_STATEMENTS = 200
"""A connection of the server; more than the application has."""
KILLED = 40
LOOKS = 400
STALLED_SECONDS = 60
"""After the end of the load; connecting counts, too."""
CONTEXT = "SELECT coalesce(current_setting('app.current_tenant_id', true), ''), current_user::text"
OWN_ONLY = "SELECT count(*) FILTER (WHERE tenant_id <> %(tenant_id)s), count(*) FROM leads"
HALF_A_SESSION = """
import sys, time, uuid
from penguinmails.oltp.context_seals import signer_of
from penguinmails.oltp.tenancy import Pooler, tenant_session
from penguinmails.stack.stores import resolve
connection = Pooler(sys.argv[3]).connect(sys.argv[1])
with tenant_session(connection, uuid.UUID(sys.argv[2]), signer=signer_of(resolve())) as session:
    session.execute("UPDATE leads SET name = 'half done'").rowcount
    print("in the middle", flush=True)
    time.sleep(60)
"""


def version_of(program: str, kind: Pooler) -> str:
    """Returns the version of a pgbouncer; ends the bench when it cannot do what is to be measured."""
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    version = tuple(int(part) for part in shown.split(".")[:2])
    if kind is Pooler.TRANSACTION_PREPARED and version < KEEPS_PREPARED_STATEMENTS_SINCE:
        sys.exit(
            f"PgBouncer {shown} keeps no prepared statements: give --pooler transaction, or a newer one by --pgbouncer"
        )
    return shown


@contextlib.contextmanager
def through_pgbouncer(stores: Stores, program: str, kind: Pooler) -> Iterator[Stores]:
    """Starts pgbouncer in front of the OLTP database; yields stores whose application goes through it."""
    server = conninfo_to_dict(stores.oltp_app_url.get_secret_value())
    folder = Path(tempfile.mkdtemp(prefix="penguinmails-pooler-"))
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{server["user"]}" "{server["password"]}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{server['dbname']} = host={server['host']} port={server.get('port', 5432)}\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nlisten_port = 6432\npool_mode = transaction\n"
        f"default_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 5000\nauth_type = scram-sha-256\n"
        f"auth_file = {folder / 'users'}\nignore_startup_parameters = extra_float_digits\n"
        + (f"max_prepared_statements = {MAX_PREPARED_STATEMENTS}\n" if kind is Pooler.TRANSACTION_PREPARED else "")
    )
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        for path in (folder, folder / "users", folder / "pgbouncer.ini"):
            shutil.chown(path, "nobody")
    (folder / "users").chmod(0o600)
    process = subprocess.Popen([program, "-q", folder / "pgbouncer.ini"], cwd="/", **user)  # type: ignore[call-overload]
    url = f"postgresql://{server['user']}:{server['password']}@/{server['dbname']}?host={folder}&port=6432"
    try:
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, "pgbouncer did not start"
            time.sleep(0.05)
        yield dataclasses.replace(stores, oltp_app_url=SecretStr(url))
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def leaks(stores: Stores, kind: Pooler, samples: list[dict[str, Any]]) -> dict[str, int]:
    """Kills sessions half-way beside others that go on; counts what is not theirs."""
    url = stores.oltp_app_url.get_secret_value()
    foreign = seen = contexts = 0
    with open_pool(stores, max_connections=8, min_connections=8, pooler=kind) as pool:
        for number in range(KILLED):
            values = samples[number % len(samples)]
            half = subprocess.Popen(
                [sys.executable, "-c", HALF_A_SESSION, url, str(values["tenant_id"]), kind],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert half.stdout is not None
            assert half.stdout.readline() == "in the middle\n"
            half.kill()
            half.wait()
            for _ in range(LOOKS // KILLED):
                other = random.choice(samples)
                with kind.connect(url) as bare:
                    row = bare.execute(CONTEXT).fetchone()
                    contexts += row is None or row[0] != "" or row[1] == "pm_app"
                with tenant_session(pool, other["tenant_id"]) as session:
                    row = session.execute(OWN_ONLY, other).fetchone()
                    foreign, seen = foreign + row[0], seen + row[1]  # type: ignore[index]
    with connect(stores.oltp_url, Role.LOADER) as connection:
        half_done = connection.execute("SELECT count(*) FROM leads WHERE name = 'half done'").fetchone()
    return {
        "sessions_killed_half_way": KILLED,
        "connections_with_somebodys_context": contexts,
        "foreign_rows_seen": foreign,
        "own_rows_seen": seen,
        "half_done_rows": int(half_done[0]) if half_done else -1,
    }


def work(
    stores: Stores, arguments: argparse.Namespace, samples: list[dict[str, Any]], number: int, answer: Any
) -> None:
    """One process: its share of sessions, each with a connection of its own and due once every gap, served by a few threads.

    A thread a session measures Python instead: hundreds of threads that wake at once after a hiccup of the disk contend for the
    interpreter, and recover from 50 milliseconds only after 500.
    """
    url = stores.oltp_app_url.get_secret_value()
    kind = Pooler(arguments.pooler)
    signer = signer_of(stores)
    gap = arguments.processes / arguments.rate
    found: list[tuple[float, float]] = []
    lock, due = threading.Lock(), itertools.count()
    with contextlib.ExitStack() as opened:  # one after another: the pooler's queue of new connections is short
        connections = [
            opened.enter_context(kind.connect(url)) for _ in range(arguments.sessions // arguments.processes)
        ]
        in_use = [threading.Lock() for _ in connections]
        started = time.perf_counter() + 1

        def serve(seed: int) -> None:
            dice = random.Random(f"{number} {seed}")
            while True:
                with lock:
                    turn = next(due)
                at = started + turn * gap
                if at > started + arguments.seconds:
                    return
                time.sleep(max(at - time.perf_counter(), 0))
                place = turn % len(connections)
                values = dice.choice(samples)
                with in_use[place], tenant_session(connections[place], values["tenant_id"], signer=signer) as session:
                    one_transaction(dice, session, values)
                found.append((at - started, time.perf_counter() - at))

        run_all([threading.Thread(target=serve, args=[seed]) for seed in range(arguments.threads)])
    answer.put(found)


def worst_by_second(timed: list[tuple[float, float]]) -> list[float]:
    """Returns the longest latency of each second, so that a stall shows."""
    worst: dict[int, float] = {}
    for at, latency in timed:
        worst[int(at)] = max(worst.get(int(at), 0.0), round(latency * 1000, 1))
    return [latency for _, latency in sorted(worst.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000, help="transactions a second, over all sessions")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm-up-seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=20, help="transactions that each process has under way at most")
    parser.add_argument("--sealed", action="store_true", help="contexts are signed, and believed for that only")
    parser.add_argument("--pgbouncer", default="pgbouncer", metavar="PROGRAM")
    kinds = [Pooler.TRANSACTION_PREPARED, Pooler.TRANSACTION]
    parser.add_argument("--pooler", choices=kinds, default=kinds[0], help="whether it keeps prepared statements")
    arguments = parser.parse_args()
    kind = Pooler(arguments.pooler)
    program = shutil.which(arguments.pgbouncer) or sys.exit(f"there is no {arguments.pgbouncer}: see --help")
    version = version_of(program, kind)
    stores = resolve()
    state = State.SEALED if arguments.sealed else State.OPEN
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.cursor(row_factory=dict_row) as cursor:
        samples = cursor.execute(SAMPLES, {"tenants": TENANTS}).fetchall()
    answers: Any = multiprocessing.Queue()
    with contexts_as(state, stores), through_pgbouncer(stores, program, kind) as through:
        isolation = leaks(through, kind, samples)
        processes = [
            multiprocessing.Process(target=work, args=(through, arguments, samples, number, answers))
            for number in range(arguments.processes)
        ]
        for process in processes:
            process.start()
        timed = []
        try:
            for _ in processes:
                timed += answers.get(timeout=arguments.seconds + STALLED_SECONDS)
        except queue.Empty:
            for process in processes:
                process.kill()
            sys.exit(f"stalled: sessions wait for the pooler {STALLED_SECONDS} s after the end")
        for process in processes:
            process.join()
    latencies = sorted(latency for at, latency in timed if at >= arguments.warm_up_seconds)
    report = isolation | {
        "contexts": state,
        "pgbouncer": version,
        "pooler": kind,
        "tenants": len(samples),
        "sessions": arguments.sessions,
        "server_connections": SERVER_CONNECTIONS,
        "achieved_per_second": round(len(timed) / arguments.seconds, 1),
        **{
            f"p{share}_milliseconds": round(latencies[int(len(latencies) * share / 100)] * 1000, 2)
            for share in (50, 95, 99)
        },
        "worst_milliseconds_by_second": worst_by_second(timed),
        "aim": {"p95_milliseconds": 10, "p99_milliseconds": 50, "offered_per_second": 1000},
    }
    print(json.dumps(report, indent=1))
    sys.exit(1 if report["connections_with_somebodys_context"] or report["foreign_rows_seen"] else 0)


if __name__ == "__main__":
    main()
