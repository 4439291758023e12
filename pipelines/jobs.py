"""Few named jobs, a sentence each. Steps run in one process: every extra process would import Dagster again."""

from __future__ import annotations

from typing import Any

import dagster as dg

HOUSEKEEPING = "housekeeping"
"""A group of its own: what ages out depends on all tiers, and would turn the arrows between their groups around."""
HOURLY, NIGHTLY, WEEKLY = ({HOUSEKEEPING: when} for when in ("hourly", "nightly", "weekly"))
"""Tags of the assets that these jobs take."""
_HOURLY, _NIGHTLY, _WEEKLY = (
    dg.AssetSelection.tag(HOUSEKEEPING, tag[HOUSEKEEPING]) for tag in (HOURLY, NIGHTLY, WEEKLY)
)
_HOUSEKEEPING = _HOURLY | _NIGHTLY | _WEEKLY
_SETTLED = dg.AssetSelection.groups("content", "olap", "queue") - _HOUSEKEEPING
"""What a day of production needs: mail is there already, brought by the application."""


def _executed(*names: str) -> dict[str, Any]:
    """Returns the run configuration that lets these assets do what they planned."""
    return {"ops": {name: {"config": {"execute": True}} for name in names}}


everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all() - _HOUSEKEEPING,
    description="The whole path on the demo tenant: load mail, hand bodies over, roll up, publish, probe the queue.",
)

daily = dg.define_asset_job(
    "daily",
    selection=_SETTLED | dg.AssetSelection.assets(["oltp", "schema"]),
    description="One UTC day: hand over the bodies taken in, roll the events up, publish the marts, probe the queue.",
)

watch_queue = dg.define_asset_job(
    "watch_queue",
    selection=dg.AssetSelection.assets(["queue", "probe"]),
    description="One snapshot of the queue with its checks, into the history table.",
)

enqueue_hourly = dg.define_asset_job(
    "enqueue_hourly",
    selection=_HOURLY,
    description="The queue's jobs of an hour, once for each hour: a roll-up, and steps of mailboxes being warmed up.",
)

housekeeping = dg.define_asset_job(
    "housekeeping",
    selection=_NIGHTLY,
    config=_executed(
        "oltp__retention",
        "content__retention",
        "content__compaction",
        "content__sweep",
        "queue__archive",
        "dagster__run_history",
    ),
    description="What ages out, in all tiers: retention, erasures, compaction, the archive of finished jobs, Dagster's own "
    "runs. It executes; materialize a single asset to see its plan only.",
)

weekly = dg.define_asset_job(
    "weekly",
    selection=_WEEKLY,
    config=_executed("olap__landing_compaction"),
    description="The facts compared with a recomputation, and the landing zone compacted.",
)

JOBS = [everything, daily, watch_queue, enqueue_hourly, housekeeping, weekly]
