"""Few named jobs, a sentence each. Steps run in one process: every extra process would import Dagster again."""

from __future__ import annotations

import dagster as dg

SETTLED = dg.AssetSelection.groups("content", "olap", "queue")
"""What a day of production needs: mail is there already, brought by the application."""

everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all(),
    description="The whole path on the demo tenant: load mail, hand bodies over, roll up, publish, probe the queue.",
)

daily = dg.define_asset_job(
    "daily",
    selection=SETTLED | dg.AssetSelection.assets(["oltp", "schema"]),
    description="One UTC day: hand over the bodies taken in, roll the events up, publish the marts, probe the queue.",
)

watch_queue = dg.define_asset_job(
    "watch_queue",
    selection=dg.AssetSelection.assets(["queue", "probe"]),
    description="One snapshot of the queue with its checks, into the history table.",
)

JOBS = [everything, daily, watch_queue]
