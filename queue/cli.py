"""`penguinmails queue`: running the queue's processes and looking after them.

Belongs here: commands. Does not belong here: what they do (relay.py, worker.py, reaper.py, probe.py …).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from penguinmails.queue.cli_jobs import COMMANDS
from penguinmails.queue.cli_options import PORT, FiniteRange, json_object, utc
from penguinmails.stack.console import console, json_option, notes, print_json, progress
from penguinmails.stack.errors import InputError

if TYPE_CHECKING:
    from penguinmails.queue.executors import Executor
    from penguinmails.queue.process_metrics import ProcessTimes

_metrics_port = click.option(
    "--metrics-port", type=PORT, help="Serve this process's counts to Prometheus on this port (0 finds a free one)."
)


@click.group()
def queue() -> None:
    """The job queue: PostgreSQL decides, Redis is the fast lane."""


@queue.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the queue's tables and declared queues up to date."""
    from penguinmails.queue.schema import migrate as apply
    from penguinmails.stack.stores import resolve

    applied = apply(resolve())
    if as_json:
        print_json({"applied": applied})
    else:
        console.print(f"Applied: {', '.join(applied)}" if applied else "Already up to date.")


@queue.command()
@_metrics_port
def relay(metrics_port: int | None) -> None:
    """Hand ready jobs over to Redis until stopped (any number may run)."""
    from penguinmails.queue.relay import Relay
    from penguinmails.queue.schema import migrated_stores

    times = _times("relay", metrics_port)
    observed: Any = {"on_hand_off": times.handed_off, "on_operation": times.operation} if times else {}
    running = Relay(migrated_stores(), **observed)
    _serve_metrics("relay", running.counts, times, metrics_port)
    notes.print("Relay runs; Ctrl-C stops it.")
    running.run(_until_signal())


@queue.command()
@_metrics_port
def reaper(metrics_port: int | None) -> None:
    """Take back what dead processes held, until stopped (one is active, others wait)."""
    from penguinmails.queue.reaper import Reaper
    from penguinmails.queue.schema import migrated_stores

    running = Reaper(migrated_stores())
    _serve_metrics("reaper", running.counts, _times("reaper", metrics_port), metrics_port)
    notes.print("Reaper runs; Ctrl-C stops it.")
    running.run(_until_signal())


@queue.command()
@click.option("--queue", "queue_names", multiple=True, help="Serve only this queue (repeatable; default: all known).")
@click.option("--slots", default=2, show_default=True, type=click.IntRange(1, 256), help="Handlers running at once.")
@click.option("--memory-limit-mib", type=click.IntRange(256), help="Address space of one handler process.")
@_metrics_port
@json_option
def worker(
    queue_names: tuple[str, ...], slots: int, memory_limit_mib: int | None, metrics_port: int | None, as_json: bool
) -> None:
    """Run jobs until stopped; stopping waits up to 30 seconds for those that run."""
    from penguinmails.queue.child_processes import ChildProcesses
    from penguinmails.queue.handlers import Handlers
    from penguinmails.queue.schema import migrated_stores
    from penguinmails.queue.worker import Worker

    handlers = Handlers.installed()
    served = list(queue_names) or handlers.queue_names
    unknown = sorted(set(served) - set(handlers.queue_names))
    if unknown:
        raise InputError(f"queue {unknown[0]}", "has no handler here", f"Known: {', '.join(handlers.queue_names)}.")
    limit = memory_limit_mib * 2**20 if memory_limit_mib else None
    executor: Executor = ChildProcesses(handlers, slots=slots, memory_limit_bytes=limit)
    times = _times("worker", metrics_port)
    if times is not None:
        from penguinmails.queue.process_metrics import ObservedExecutor

        executor = ObservedExecutor(executor, times)
    observed: Any = {"on_operation": times.operation} if times else {}
    running = Worker(migrated_stores(), served, executor, **observed)
    _serve_metrics("worker", running.counts, times, metrics_port)
    notes.print(f"Worker with {slots} slots serves {', '.join(served)}; Ctrl-C stops it.")
    running.run(_until_signal())
    if as_json:
        print_json(running.counts)


@queue.command()
@click.option(
    "--at-most-seconds",
    default=600.0,
    show_default=True,
    type=FiniteRange(0, min_open=True),
    help="End then, however much is left.",
)
@json_option
def drain(at_most_seconds: float, as_json: bool) -> None:
    """Run everything that is ready, in this process, and return."""
    from penguinmails.queue.drain import drain as run
    from penguinmails.queue.schema import migrated_stores

    stores = migrated_stores()
    with progress(visible=not as_json) as bar:
        task = bar.add_task("running jobs", total=None)
        report = run(
            stores,
            at_most_seconds=at_most_seconds,
            stop=_until_signal(),
            progress=lambda count: bar.advance(task, count),
        )
    if as_json:
        print_json(report)
        return
    console.print(
        f"{report.completed:,} completed, {report.retried:,} to be tried again, {report.dead:,} dead letters, "
        f"{report.left:,} left, {report.seconds:.1f} s"
    )


@queue.command()
@click.argument("queue_name")
@click.argument("payload", default="{}")
@click.option("--priority", type=click.IntRange(0, 1_000), help="0 (soonest) to 1000; default: the queue's.")
@click.option("--run-at", type=click.DateTime(), help="Not before this time (UTC).")
@click.option("--dedupe-key", help="Do nothing while a live job of the queue has this key.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Whose job it is.")
@json_option
def enqueue(
    queue_name: str,
    payload: str,
    priority: int | None,
    run_at: Any,
    dedupe_key: str | None,
    tenant_id: UUID | None,
    as_json: bool,
) -> None:
    """Enqueue one job with a JSON object of ids and small configuration as its payload."""
    from penguinmails.queue.connections import connect
    from penguinmails.queue.producer import enqueue as insert
    from penguinmails.queue.schema import migrated_stores

    document = json_object("payload", payload)
    with connect(migrated_stores().queue_url) as connection:
        enqueued = insert(
            connection,
            queue_name,
            document,
            priority=priority,
            run_at=utc(run_at),
            dedupe_key=dedupe_key,
            tenant_id=tenant_id,
        )
    if as_json:
        print_json(enqueued)
    else:
        console.print(f"{'Enqueued' if enqueued.is_new else 'Was there already:'} {enqueued.id}")


@queue.command()
@json_option
def status(as_json: bool) -> None:
    """Show depths, rates, processes and every limit that is exceeded; exit code 1 when one is."""
    from penguinmails.queue.probe import as_document, probe
    from penguinmails.queue.schema import migrated_stores
    from penguinmails.queue.thresholds import evaluate
    from penguinmails.queue.views import status_view

    snapshot = probe(migrated_stores())
    exceeded = evaluate(snapshot)
    if as_json:
        problems = [
            {"name": each.threshold.name, "severity": each.threshold.severity, "figure": each.figure}
            for each in exceeded
        ]
        print_json(as_document(snapshot) | {"exceeded": problems})
    else:
        console.print(status_view(snapshot))
    if exceeded:
        sys.exit(1)


@queue.command()
@click.option("--port", default=9464, show_default=True, type=PORT, help="0 finds a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def metrics(port: int, host: str) -> None:
    """Serve the figures of the whole queue to Prometheus until stopped."""
    from penguinmails.queue.metrics import QueueCollector, serve
    from penguinmails.queue.schema import migrated_stores

    server = serve([QueueCollector(migrated_stores())], port=port, host=host)
    notes.print(f"Metrics on http://{host}:{server.server_port}/metrics; Ctrl-C stops it.")
    stop = _until_signal()
    while not stop():
        time.sleep(0.2)
    server.shutdown()
    server.server_close()


for command in COMMANDS:
    queue.add_command(command)


def _times(kind: str, port: int | None) -> ProcessTimes | None:
    """Returns the histograms of this process when somebody is to see them."""
    if port is None:
        return None
    from penguinmails.queue.process_metrics import ProcessTimes

    return ProcessTimes(kind)


def _serve_metrics(kind: str, counts: object, times: ProcessTimes | None, port: int | None) -> None:
    if port is None or times is None:
        return
    from penguinmails.queue.metrics import serve
    from penguinmails.queue.process_metrics import ProcessCollector

    server = serve([ProcessCollector(kind, counts, times)], port=port)
    notes.print(f"Metrics on http://127.0.0.1:{server.server_port}/metrics")


def _until_signal() -> Callable[[], bool]:
    """Returns a question that becomes true at SIGTERM or SIGINT."""
    stopping = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return lambda: stopping
