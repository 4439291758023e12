"""The code location: everything Dagster shows, put together. Wiring only.

Loading it opens nothing: no network, no file, no database. A missing setting shows when a step needs it, with a remedy.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

# The features used are the documented ones; Dagster still calls some of them beta.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from penguinmails.pipelines import assets, checks  # noqa: E402
from penguinmails.pipelines.automation import SCHEDULES  # noqa: E402
from penguinmails.pipelines.jobs import JOBS  # noqa: E402
from penguinmails.pipelines.resources import Platform  # noqa: E402


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
        resources={"platform": Platform(), **(resource_overrides or {})},
        executor=dg.in_process_executor,  # every step process would import Dagster again
    )


defs = build_defs()
