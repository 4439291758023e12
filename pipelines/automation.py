"""When things run by themselves: only what hangs on the wall clock is scheduled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import dagster as dg

from penguinmails.pipelines.assets.job_queue import SCHEDULED_JOBS
from penguinmails.pipelines.jobs import daily, enqueue_hourly, housekeeping, watch_queue, weekly
from penguinmails.pipelines.partitions import DAILY


@dg.schedule(
    job=daily,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00 UTC: the day that has just ended.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    day = (context.scheduled_execution_time - timedelta(days=1)).date().isoformat()
    if DAILY.has_partition_key(day):
        yield dg.RunRequest(run_key=day, partition_key=day)


_running = partial(dg.ScheduleDefinition, execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.RUNNING)
queue_every_five_minutes = _running(
    name="queue_every_five_minutes",
    job=watch_queue,
    cron_schedule="*/5 * * * *",
    description="One small run: the series goes to the history table, not into Dagster's event log.",
)
housekeeping_nightly = _running(
    name="housekeeping_nightly",
    job=housekeeping,
    cron_schedule="0 4 * * *",
    description="After the nightly run: what it extracted and handed over may age out.",
)
weekly_on_sundays = _running(
    name="weekly_on_sundays",
    job=weekly,
    cron_schedule="0 5 * * 0",
    description="Sundays: reconcile by recomputation, tidy the landing zone.",
)


@dg.schedule(
    job=enqueue_hourly,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every hour, for the queue's workers: switch it on where some run, or its jobs only pile up.",
)
def queue_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    tick = context.scheduled_execution_time.isoformat()
    configuration = {"ops": {SCHEDULED_JOBS.to_python_identifier(): {"config": {"tick": tick}}}}
    return dg.RunRequest(run_key=tick, run_config=configuration)


SCHEDULES = [nightly, queue_every_five_minutes, queue_hourly, housekeeping_nightly, weekly_on_sundays]
