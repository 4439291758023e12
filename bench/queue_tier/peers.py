"""One peer under the benchmark; run by the interpreter that has the peers installed, one call a step.

`peers.py NAME enqueue|work --jobs N` with PEER_POSTGRES_URL, PEER_REDIS_URL set. `work` ends when the queue is empty and prints
the seconds it worked. Each peer is used as its own documentation advises for throughput, with the server's own durability.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time

POSTGRES = os.environ.get("PEER_POSTGRES_URL", "")
REDIS = os.environ.get("PEER_REDIS_URL", "")
CONCURRENCY = 10


def nothing(*_: object) -> None:
    """The job."""


async def nothing_async(*_: object) -> None:
    """The job, for those that want a coroutine."""


def procrastinate(step: str, jobs: int) -> None:
    import procrastinate as peer

    app = peer.App(connector=peer.PsycopgConnector(conninfo=POSTGRES))
    task = app.task(name="nothing")(nothing_async)

    async def enqueue() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for start in range(0, jobs, 1_000):
                await task.batch_defer_async(*({} for _ in range(min(1_000, jobs - start))))

    async def work() -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY, wait=False, listen_notify=False)

    asyncio.run(enqueue() if step == "enqueue" else work())


def pgqueuer(step: str, jobs: int) -> None:
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.qm import QueueManager
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    async def enqueue() -> None:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES)))
        await queries.install()
        for start in range(0, jobs, 1_000):
            count = min(1_000, jobs - start)
            await queries.enqueue(["nothing"] * count, [None] * count, [0] * count)

    async def work() -> None:
        manager = QueueManager(Queries(AsyncpgDriver(await asyncpg.connect(POSTGRES))))
        manager.entrypoint("nothing")(nothing_async)
        await manager.run(batch_size=100, mode=QueueExecutionMode.drain)

    asyncio.run(enqueue() if step == "enqueue" else work())


def rq(step: str, jobs: int) -> None:
    import redis
    from rq import Queue, SimpleWorker

    connection = redis.Redis.from_url(REDIS)
    queue = Queue("nothing", connection=connection)
    if step == "enqueue":
        for start in range(0, jobs, 1_000):
            queue.enqueue_many([Queue.prepare_data("peers.nothing") for _ in range(min(1_000, jobs - start))])
    else:
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")


def arq(step: str, jobs: int) -> None:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(REDIS)

    async def enqueue() -> None:
        pool = await create_pool(settings)
        for start in range(0, jobs, 100):
            await asyncio.gather(*(pool.enqueue_job("nothing") for _ in range(min(100, jobs - start))))

    if step == "enqueue":
        asyncio.run(enqueue())
        return
    asyncio.set_event_loop(asyncio.new_event_loop())
    job = func(nothing_async, name="nothing")
    Worker([job], redis_settings=settings, burst=True, max_jobs=100, poll_delay=0.01, handle_signals=False).run()


def dramatiq(step: str, jobs: int) -> None:
    import dramatiq as peer
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=REDIS)
    peer.set_broker(broker)
    actor = peer.actor(nothing, actor_name="nothing")
    if step == "enqueue":
        for _ in range(jobs):
            actor.send()
        return
    worker = peer.Worker(broker, worker_threads=CONCURRENCY)
    worker.start()
    broker.join(actor.queue_name)
    worker.join()
    worker.stop()


PEERS = {peer.__name__: peer for peer in (procrastinate, pgqueuer, rq, arq, dramatiq)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("step", choices=["enqueue", "work"])
    parser.add_argument("--jobs", type=int, required=True)
    arguments = parser.parse_args()
    began = time.time()
    PEERS[arguments.peer](arguments.step, arguments.jobs)
    json.dump({"began": began, "ended": time.time()}, sys.stdout)


if __name__ == "__main__":
    main()
