"""One file per tier: the assets of that tier. Logic lives in the tier; an asset says when, after what, what came of it."""

from __future__ import annotations

from penguinmails.pipelines.assets.content_store import ASSETS as CONTENT
from penguinmails.pipelines.assets.job_queue import ASSETS as QUEUE
from penguinmails.pipelines.assets.olap import ASSETS as OLAP
from penguinmails.pipelines.assets.oltp import ASSETS as OLTP

ALL = [*OLTP, *CONTENT, *OLAP, *QUEUE]
