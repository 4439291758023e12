"""Checks of the queue tier. Those of each threshold come with the probe itself (assets/job_queue.py): one look, all checks."""

import dagster as dg

from penguinmails.pipelines.assets.job_queue import ROUND_TRIP
from penguinmails.pipelines.resources import Platform


@dg.asset_check(asset=ROUND_TRIP, description="No job that could run is left behind by the round trip.")
def nothing_is_left_behind(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.queue.handlers import PING
    from penguinmails.queue.probe import probe

    left = sum(lane.waiting for lane in probe(platform.stores).lanes if lane.queue_name == PING.queue_name)
    return dg.AssetCheckResult(
        passed=left == 0,
        metadata={"left": left},
        description="Look at 'penguinmails queue status': a job was not taken." if left else None,
    )


CHECKS = [nothing_is_left_behind]
