"""The live path as Dagster sees it: a sensor that plots its lag, and a check that says when it falls behind.

The sensor looks every half minute without a run, and writes little: its lag every five minutes, the check when its answer
changes and once an hour. Belongs here: that. Does not belong here: what the lag is (olap/live_path.py).
"""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from penguinmails.pipelines.assets.olap import LIVE_PATH
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now

OBSERVE_SECONDS = 300.0
EVALUATE_SECONDS = 3600.0
CHECK = "live_path_keeps_up"


@dg.asset_check(
    asset=LIVE_PATH,
    name=CHECK,
    description="While 'penguinmails marts follow' is in use, the published marts are complete up to less than 30 seconds ago.",
)
def live_path_keeps_up(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.olap.live_path import live_path_state

    state = live_path_state(platform.stores, utc_now())
    return dg.AssetCheckResult(
        passed=state is None or state.keeps_up,
        metadata={"in_use": state is not None} | ({"lag_seconds": state.lag_seconds} if state else {}),
        description=state.remedy if state else None,
    )


@dg.sensor(
    name="marts_lag",
    description="Looks at the live path: its lag as a plotted observation, and whether it keeps up.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def marts_lag(
    context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
) -> dg.SensorResult | dg.SkipReason:
    from penguinmails.olap.live_path import live_path_state

    now = utc_now()
    state = live_path_state(platform.stores, now)
    if state is None:
        return dg.SkipReason("No live path is in use.")
    told: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
    moment = now.timestamp()
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = []
    if moment - told.get("observed", 0) >= OBSERVE_SECONDS:
        told["observed"] = moment
        figures = {"lag_seconds": state.lag_seconds, "followers": state.followers}
        events.append(dg.AssetObservation(LIVE_PATH, metadata=figures))
    if state.keeps_up != told.get("keeps_up") or moment - told.get("evaluated", 0) >= EVALUATE_SECONDS:
        told |= {"keeps_up": state.keeps_up, "evaluated": moment}
        events.append(
            dg.AssetCheckEvaluation(
                asset_key=LIVE_PATH,
                check_name=CHECK,
                passed=state.keeps_up,
                metadata={"lag_seconds": state.lag_seconds},
                description=state.remedy,
            )
        )
    return dg.SensorResult(asset_events=events, cursor=json.dumps(told))


CHECKS = [live_path_keeps_up]
SENSORS = [marts_lag]
