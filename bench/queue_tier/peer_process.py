"""One step of one peer, in a process of its own, run by peers.py with the interpreter that has the peers installed.

`peer_process.py NAME enqueue|work --jobs N` with PEER_POSTGRES_URL and PEER_REDIS_URL set prints when the step began and
ended; imports come before. `work` ends when the queue is empty. Each peer is used as its own documentation advises for
throughput (many jobs a call, batches, bursts), with the durability of the servers.

Belongs here: how each peer is called. Does not belong here: what is compared (peers.py); nothing of ours is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

POSTGRES = os.environ.get("PEER_POSTGRES_URL", "")
REDIS = os.environ.get("PEER_REDIS_URL", "")
CONCURRENCY = 10
ENQUEUE_BATCH = 1_000
Step = Callable[[], object]


def nothing(*_: object) -> None:
    """The job."""


async def nothing_async(*_: object) -> None:
    """The job, for those that want a coroutine."""


def batches(jobs: int) -> list[int]:
    """Splits a number of jobs into calls."""
    return [min(ENQUEUE_BATCH, jobs - start) for start in range(0, jobs, ENQUEUE_BATCH)]


def procrastinate(step: str, jobs: int) -> Step:
    """PostgreSQL, psycopg; one job a fetch by design."""
    import procrastinate as peer

    app = peer.App(connector=peer.PsycopgConnector(conninfo=POSTGRES))
    task = app.task(name="nothing")(nothing_async)

    async def enqueue() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for count in batches(jobs):
                await task.batch_defer_async(*({} for _ in range(count)))

    async def work() -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY, wait=False, listen_notify=False)

    return lambda: asyncio.run(enqueue() if step == "enqueue" else work())


def pgqueuer(step: str, jobs: int) -> Step:
    """PostgreSQL, asyncpg; its fastest driver."""
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.qm import QueueManager
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    async def enqueue() -> None:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES)))
        await queries.install()
        for count in batches(jobs):
            await queries.enqueue(["nothing"] * count, [None] * count, [0] * count)

    async def work() -> None:
        manager = QueueManager(Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES))))
        manager.entrypoint("nothing")(nothing_async)
        await manager.run(batch_size=ENQUEUE_BATCH, mode=QueueExecutionMode.drain)

    return lambda: asyncio.run(enqueue() if step == "enqueue" else work())


def rq(step: str, jobs: int) -> Step:
    """Redis; SimpleWorker, which spares the fork a job."""
    import redis
    from rq import Queue, SimpleWorker

    connection = redis.Redis.from_url(REDIS)
    queue = Queue("nothing", connection=connection)

    def enqueue() -> None:
        for count in batches(jobs):
            queue.enqueue_many([Queue.prepare_data("peer_process.nothing") for _ in range(count)])

    def work() -> None:
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")

    return enqueue if step == "enqueue" else work


def arq(step: str, jobs: int) -> Step:
    """Redis, asyncio."""
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(REDIS)

    async def enqueue() -> None:
        pool = await create_pool(settings)
        for count in batches(jobs):
            for start in range(0, count, 100):
                await asyncio.gather(*(pool.enqueue_job("nothing") for _ in range(min(100, count - start))))

    def work() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        job = func(nothing_async, name="nothing")
        Worker([job], redis_settings=settings, burst=True, max_jobs=100, poll_delay=0.01, handle_signals=False).run()

    return (lambda: asyncio.run(enqueue())) if step == "enqueue" else work


def dramatiq(step: str, jobs: int) -> Step:
    """Redis, threads; it has no call for many jobs."""
    import dramatiq as peer
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=REDIS)
    peer.set_broker(broker)
    actor = peer.actor(nothing, actor_name="nothing")

    def enqueue() -> None:
        for _ in range(jobs):
            actor.send()

    def work() -> None:
        worker = peer.Worker(broker, worker_threads=CONCURRENCY)
        worker.start()
        broker.join(actor.queue_name)
        worker.join()
        worker.stop()

    return enqueue if step == "enqueue" else work


PEERS = {peer.__name__: peer for peer in (procrastinate, pgqueuer, rq, arq, dramatiq)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("step", choices=["enqueue", "work"])
    parser.add_argument("--jobs", type=int, required=True)
    arguments = parser.parse_args()
    step = PEERS[arguments.peer](arguments.step, arguments.jobs)
    began = time.time()
    step()
    json.dump({"began": began, "ended": time.time()}, sys.stdout)


if __name__ == "__main__":
    main()
