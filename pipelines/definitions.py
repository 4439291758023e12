"""The code location: everything Dagster shows, put together. Wiring only.

Loading it opens nothing: no network, no file, no database. A missing setting shows when a step needs it, with a remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from penguinmails.pipelines import assets, checks
from penguinmails.pipelines.alerts import SENSORS
from penguinmails.pipelines.automation import SCHEDULES
from penguinmails.pipelines.checks.olap_live_path import SENSORS as LIVE_PATH_SENSORS
from penguinmails.pipelines.jobs import JOBS
from penguinmails.pipelines.resources import Platform


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Returns fresh definitions.

    Args:
        resource_overrides: resources by name that replace the real ones, for tests and `penguinmails run`.
    """
    return dg.Definitions(
        assets=assets.ALL,
        asset_checks=checks.ALL,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[*SENSORS, *LIVE_PATH_SENSORS],
        resources={"platform": Platform(), **(resource_overrides or {})},
        executor=dg.in_process_executor,  # every step process would import Dagster again
    )


defs = build_defs()
