"""How long Dagster remembers runs; it has no retention of its own for them and their events.

Only runs that say nothing about a partition age out: with the run of a day its materialization would go too, and the day
would look as if it had never been made. Belongs here: which runs go when. Does not belong here: retention of ticks
(dagster.yaml), of anything a tier stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from penguinmails.pipelines.jobs import enqueue_hourly, housekeeping, watch_queue, weekly

KEPT: Mapping[str, timedelta] = {
    watch_queue.name: timedelta(days=7),  # 288 runs a day; their figures are in the queue's own history
    enqueue_hourly.name: timedelta(days=30),
    housekeeping.name: timedelta(days=365),
    weekly.name: timedelta(days=365),
}
"""Runs of these jobs are forgotten after this time; those of other jobs never."""
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 200


@dataclass(frozen=True)
class OldRuns:
    """Runs past their time."""

    runs_by_job: Mapping[str, int]

    @property
    def runs(self) -> int:
        return sum(self.runs_by_job.values())


def count_old_runs(instance: dg.DagsterInstance, *, now: datetime) -> OldRuns:
    """Returns how many runs are past their time; changes nothing."""
    return OldRuns({job: instance.get_runs_count(_old(job, now)) for job in KEPT})


def forget_old_runs(
    instance: dg.DagsterInstance, *, now: datetime, progress: Callable[[int], None] = lambda _: None
) -> OldRuns:
    """Deletes runs past their time with their events; killed in the middle, it goes on when it is run again.

    Args:
        now: UTC.
        progress: told how many runs have just gone.
    """
    gone = dict.fromkeys(KEPT, 0)
    for job in KEPT:
        while page := instance.get_runs(_old(job, now), limit=_PAGE):
            for run in page:
                instance.delete_run(run.run_id)
            gone[job] += len(page)
            progress(len(page))
    return OldRuns(gone)


def _old(job: str, now: datetime) -> dg.RunsFilter:
    return dg.RunsFilter(job_name=job, statuses=_ENDED, created_before=now - KEPT[job])
