"""One file per tier: the checks of that tier. A failing check says how many, which, and what to do."""

from __future__ import annotations

from penguinmails.pipelines.checks.content_store import CHECKS as CONTENT
from penguinmails.pipelines.checks.job_queue import CHECKS as QUEUE
from penguinmails.pipelines.checks.olap import CHECKS as OLAP
from penguinmails.pipelines.checks.oltp import CHECKS as OLTP

ALL = [*OLTP, *CONTENT, *OLAP, *QUEUE]
