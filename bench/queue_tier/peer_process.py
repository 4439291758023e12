"""One step of one peer, in a process of its own, run by peers.py with the interpreter that has the peers installed.

`peer_process.py NAME STEP` with PEER_POSTGRES_URL and PEER_REDIS_URL set:
`enqueue --jobs N` and `work` (ends when the queue is empty) print when the step began and ended, imports left out;
`serve` works until it is killed; `trickle --jobs N --rate R` enqueues at a steady rate; `one` enqueues one job that takes long at
its first run. A job that is given a journal writes down when it was enqueued and when it began.

Each peer is used as its own documentation advises for throughput (many jobs a call, batches, bursts), with the durability of the
servers, and with its defaults for everything else.

Belongs here: how each peer is called. Does not belong here: what is compared (peers.py); nothing of ours is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POSTGRES = os.environ.get("PEER_POSTGRES_URL", "")
REDIS = os.environ.get("PEER_REDIS_URL", "")
CONCURRENCY = 10
ENQUEUE_BATCH = 1_000
LONG_SECONDS = 600.0
NOTE = "018f0000-0000-7000-8000-000000000000"
"""The payload of every job of the throughput, for all alike: one id."""
Enqueue = Callable[[list[str]], Awaitable[None]]


def work(payload: str) -> None:
    """The job. `payload` is NOTE, or JSON: journal, when it was enqueued, whether its first run takes long."""
    if not payload.startswith("{"):
        return
    task = json.loads(payload)
    journal = Path(task["journal"])
    is_first = not journal.exists() or not journal.read_text()
    with journal.open("a") as file:
        file.write(f"{task['enqueued_at']!r} {time.time()!r}\n")
    if task["long"] and is_first:
        time.sleep(LONG_SECONDS)


async def work_async(payload: str) -> None:
    """The same for those that want a coroutine; where a run takes long it keeps its event loop alive, as documented."""
    if payload.startswith("{") and json.loads(payload)["long"]:
        await asyncio.to_thread(work, payload)
    else:
        work(payload)


@dataclass(frozen=True)
class Peer:
    """How one peer is called.

    Args:
        prepare: makes its tables.
        enqueue: opens it and returns what enqueues payloads, many in one call where it can.
        work: works, until the queue is empty or for ever.
    """

    prepare: Callable[[], Awaitable[None]]
    enqueue: Callable[[], Awaitable[Enqueue]]
    work: Callable[[bool], None]


async def _nothing() -> None:
    """No tables to make."""


def procrastinate() -> Peer:
    """PostgreSQL, psycopg; one job a fetch by design. LISTEN is its own way to hear of a job at once."""
    import procrastinate as peer

    app = peer.App(connector=peer.PsycopgConnector(conninfo=POSTGRES))
    task = app.task(name="work")(work_async)

    async def prepare() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def opened() -> Enqueue:
        await app.open_async()

        async def enqueue(payloads: list[str]) -> None:
            await task.batch_defer_async(*({"payload": payload} for payload in payloads))

        return enqueue

    def serve(is_burst: bool) -> None:
        async def run() -> None:
            async with app.open_async():
                await app.run_worker_async(concurrency=CONCURRENCY, wait=not is_burst, listen_notify=not is_burst)

        asyncio.run(run())

    return Peer(prepare, opened, serve)


def pgqueuer() -> Peer:
    """PostgreSQL, asyncpg; its fastest driver."""
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.qm import QueueManager
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    async def prepare() -> None:
        connection = await asyncpg.connect(POSTGRES)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def opened() -> Enqueue:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES)))

        async def enqueue(payloads: list[str]) -> None:
            count = len(payloads)
            await queries.enqueue(["work"] * count, [each.encode() for each in payloads], [0] * count)

        return enqueue

    def serve(is_burst: bool) -> None:
        async def run() -> None:
            manager = QueueManager(Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES))))

            @manager.entrypoint("work")
            async def entry(job: Any) -> None:
                await work_async(job.payload.decode())

            mode = QueueExecutionMode.drain if is_burst else QueueExecutionMode.continuous
            await manager.run(batch_size=ENQUEUE_BATCH if is_burst else CONCURRENCY, mode=mode)

        asyncio.run(run())

    return Peer(prepare, opened, serve)


def rq() -> Peer:
    """Redis; SimpleWorker, which spares the fork a job."""
    import redis
    from rq import Queue, SimpleWorker

    connection = redis.Redis.from_url(REDIS)
    queue = Queue("work", connection=connection)

    async def opened() -> Enqueue:
        async def enqueue(payloads: list[str]) -> None:
            queue.enqueue_many([Queue.prepare_data("peer_process.work", (payload,)) for payload in payloads])

        return enqueue

    def serve(is_burst: bool) -> None:
        SimpleWorker([queue], connection=connection).work(burst=is_burst, logging_level="ERROR")

    return Peer(_nothing, opened, serve)


def arq() -> Peer:
    """Redis, asyncio; its pause between two looks set from half a second to 10 ms."""
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(REDIS)

    async def opened() -> Enqueue:
        pool = await create_pool(settings)

        async def enqueue(payloads: list[str]) -> None:
            for start in range(0, len(payloads), 100):
                await asyncio.gather(*(pool.enqueue_job("work", each) for each in payloads[start : start + 100]))

        return enqueue

    async def entry(_: object, payload: str) -> None:
        await work_async(payload)

    def serve(is_burst: bool) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        job = func(entry, name="work")
        Worker(
            [job], redis_settings=settings, burst=is_burst, max_jobs=100, poll_delay=0.01, handle_signals=False
        ).run()

    return Peer(_nothing, opened, serve)


def dramatiq() -> Peer:
    """Redis, threads; it has no call for many jobs."""
    import dramatiq as peer
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=REDIS)
    peer.set_broker(broker)
    actor = peer.actor(work, actor_name="work")

    async def opened() -> Enqueue:
        async def enqueue(payloads: list[str]) -> None:
            for payload in payloads:
                actor.send(payload)

        return enqueue

    def serve(is_burst: bool) -> None:
        worker = peer.Worker(broker, worker_threads=CONCURRENCY)
        worker.start()
        if is_burst:
            broker.join(actor.queue_name)
            worker.join()
            worker.stop()
        else:
            time.sleep(LONG_SECONDS)

    return Peer(_nothing, opened, serve)


PEERS = {peer.__name__: peer for peer in (procrastinate, pgqueuer, rq, arq, dramatiq)}


def journalled(journal: str, *, is_long: bool = False) -> str:
    """Returns the payload of a job that writes down when it ran."""
    return json.dumps({"journal": journal, "enqueued_at": time.time(), "long": is_long})


async def _enqueue(peer: Peer, arguments: argparse.Namespace) -> None:
    send = await peer.enqueue()
    if arguments.step == "one":
        await send([journalled(arguments.journal, is_long=True)])
    elif arguments.step == "trickle":
        began = time.monotonic()
        for number in range(arguments.jobs):
            await asyncio.sleep(max(0.0, began + number / arguments.rate - time.monotonic()))
            await send([journalled(arguments.journal)])
    else:
        for start in range(0, arguments.jobs, ENQUEUE_BATCH):
            await send([NOTE] * min(ENQUEUE_BATCH, arguments.jobs - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("step", choices=["prepare", "enqueue", "work", "serve", "trickle", "one"])
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--journal", default="")
    arguments = parser.parse_args()
    peer = PEERS[arguments.peer]()
    began = time.time()
    if arguments.step == "prepare":
        asyncio.run(peer.prepare())
    elif arguments.step in ("work", "serve"):
        peer.work(arguments.step == "work")
    else:
        asyncio.run(_enqueue(peer, arguments))
    json.dump({"began": began, "ended": time.time()}, sys.stdout)


if __name__ == "__main__":
    main()
