"""One file per tier, and one for the housekeeping of all: their assets.

Logic lives in the tier; an asset says when, after what, and what came of it.
"""

from __future__ import annotations

import dagster as dg

from penguinmails.pipelines.assets.content_store import ASSETS as CONTENT
from penguinmails.pipelines.assets.housekeeping import ASSETS as HOUSEKEEPING
from penguinmails.pipelines.assets.job_queue import ASSETS as QUEUE
from penguinmails.pipelines.assets.olap import ASSETS as OLAP
from penguinmails.pipelines.assets.oltp import ASSETS as OLTP

ALL: list[dg.AssetsDefinition | dg.AssetSpec] = [*OLTP, *CONTENT, *OLAP, *QUEUE, *HOUSEKEEPING]
