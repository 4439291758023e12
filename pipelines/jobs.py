"""Few named jobs, a sentence each. Steps run in one process: every extra process would import Dagster again."""

from __future__ import annotations

from typing import Any

import dagster as dg

_HOUSEKEEPING = dg.AssetSelection.tag("housekeeping", "nightly") | dg.AssetSelection.tag("housekeeping", "weekly")
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

housekeeping = dg.define_asset_job(
    "housekeeping",
    selection=dg.AssetSelection.tag("housekeeping", "nightly"),
    config=_executed("oltp__retention", "content__retention", "content__compaction", "queue__archive"),
    description="What ages out, in all tiers: retention, erasures, compaction, the archive of finished jobs. It executes; "
    "materialize a single asset to see its plan only.",
)

weekly = dg.define_asset_job(
    "weekly",
    selection=dg.AssetSelection.tag("housekeeping", "weekly"),
    config=_executed("olap__landing_compaction"),
    description="The facts compared with a recomputation, and the landing zone compacted.",
)

JOBS = [everything, daily, watch_queue, housekeeping, weekly]
