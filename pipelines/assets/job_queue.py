"""Assets of the queue tier: its tables, one job sent all the way through, the probe, and the jobs of every hour.

Relay and workers are processes of their own (`penguinmails queue relay|worker`), never Dagster runs.
"""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg
from pydantic import Field

from penguinmails.pipelines import metadata
from penguinmails.pipelines.jobs import HOURLY
from penguinmails.pipelines.reporting import collect
from penguinmails.pipelines.resources import Platform
from penguinmails.queue.probe import QueueSnapshot
from penguinmails.queue.thresholds import THRESHOLDS, Severity, Threshold, evaluate
from penguinmails.stack.clock import utc_now

GROUP = "queue"
JOBS = dg.AssetKey(["queue", "jobs"])
ROUND_TRIP = dg.AssetKey(["queue", "round_trip"])
PROBE = dg.AssetKey(["queue", "probe"])
SCHEDULED_JOBS = dg.AssetKey(["queue", "scheduled_jobs"])
_SEVERITY = {
    Severity.WARNING: dg.AssetCheckSeverity.WARN,
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
    Severity.PAGE: dg.AssetCheckSeverity.ERROR,
}


@dg.asset(
    key=JOBS,
    group_name=GROUP,
    kinds={"postgres", "redis"},
    owners=metadata.OWNERS,
    description="The durable record of the queue: queues, jobs, attempts and workers, at the newest migration.",
)
def jobs(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.queue.schema import migrate

    return dg.MaterializeResult(metadata={"migrations_applied": len(migrate(platform.stores))})


@dg.asset(
    key=ROUND_TRIP,
    deps=[JOBS],
    group_name=GROUP,
    kinds={"postgres", "redis"},
    owners=metadata.OWNERS,
    description="One job enqueued in PostgreSQL, relayed through Redis, run by a worker and completed: proof that the "
    "whole path works, once a minute at most.",
)
def round_trip(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.queue.connections import connect
    from penguinmails.queue.drain import drain
    from penguinmails.queue.handlers import PING, Handlers
    from penguinmails.queue.producer import enqueue

    with connect(platform.stores.queue_url) as connection, connection.transaction():
        tick = f"round_trip@{utc_now():%Y-%m-%dT%H:%M}"
        enqueued = enqueue(connection, PING.queue_name, {"note": "round trip"}, dedupe_key=tick)
    report = drain(platform.stores, Handlers({PING.queue_name: PING}), at_most_seconds=60.0)
    collect("round_trip", report)
    return dg.MaterializeResult(metadata={"job_id": str(enqueued.id)} | metadata.of_report(report))


def _check(threshold: Threshold) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        threshold.name,
        asset=PROBE,
        description=f"At most {threshold.limit:,.4g} {threshold.unit}. {threshold.reason}",
        metadata={"remedy": threshold.remedy, "severity": threshold.severity.value},
    )


def _plotted(threshold: Threshold, snapshot: QueueSnapshot) -> dict[str, float]:
    """Returns figure and limit; without a figure there was nothing to judge."""
    figure = threshold.figure(snapshot)
    return {"limit": threshold.limit} | ({} if figure is None else {"figure": figure})


@dg.asset(
    key=PROBE,
    deps=[ROUND_TRIP],
    check_specs=[_check(threshold) for threshold in THRESHOLDS],
    group_name=GROUP,
    kinds={"postgres", "redis"},
    owners=metadata.OWNERS,
    description="One snapshot of the queue: depth, oldest job, failures, workers, drift between PostgreSQL and Redis. "
    "The series is kept in a table of the queue; Dagster holds the newest figures only.",
)
def probe(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.queue.probe import as_document, keep
    from penguinmails.queue.probe import probe as look

    snapshot = look(platform.stores, clock=utc_now)
    keep(platform.stores, snapshot)
    document = as_document(snapshot)
    collect("queue", document)
    exceeded = {found.threshold.name: found for found in evaluate(snapshot)}
    figures = {name: shown for name, value in document.items() if (shown := metadata.of_value(value))}
    yield dg.MaterializeResult(
        metadata=figures,
        check_results=[
            dg.AssetCheckResult(
                passed=threshold.name not in exceeded,
                check_name=threshold.name,
                severity=_SEVERITY[threshold.severity],
                metadata=_plotted(threshold, snapshot),
                description=exceeded[threshold.name].summary if threshold.name in exceeded else None,
            )
            for threshold in THRESHOLDS
        ],
    )


class Tick(dg.Config):
    """Which hour."""

    tick: str | None = Field(default=None, description="The full hour (ISO 8601, with time zone); empty: this one.")


@dg.asset(
    key=SCHEDULED_JOBS,
    deps=[JOBS, ["oltp", "email_accounts"]],
    group_name=GROUP,
    tags=HOURLY,
    kinds={"postgres"},
    owners=metadata.OWNERS,
    description="The jobs of an hour: a roll-up for fresh marts, a step of every mailbox that is being warmed up. Each hour is "
    "enqueued once, however often this is materialized.",
)
def scheduled_jobs(config: Tick, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.pipelines.scheduled_jobs import enqueue_hour

    moment = datetime.fromisoformat(config.tick) if config.tick else utc_now()
    report = enqueue_hour(platform.stores, moment.replace(minute=0, second=0, microsecond=0))
    return dg.MaterializeResult(metadata=metadata.of_report(report))


ASSETS = [jobs, round_trip, probe, scheduled_jobs]
