"""One run of the whole path in this process, recorded in Dagster's instance like any other run.

Belongs here: which assets run in which order for which days. Does not belong here: what an asset does, what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from time import monotonic
from typing import Any

from rich.progress import Progress

from penguinmails.oltp.statistics import first_day_of_new_events
from penguinmails.pipelines.assets import content_store, job_queue, olap, oltp
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.instance import PROCESS_TAG, close_runs_of_killed_processes, open_instance, this_process
from penguinmails.pipelines.jobs import everything
from penguinmails.pipelines.partitions import first_day
from penguinmails.pipelines.reporting import Listener, listening
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now
from penguinmails.stack.stores import Stores

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class FailedCheck:
    """A check that did not pass."""

    asset: str
    check: str
    description: str


@dataclass(frozen=True)
class RunOutcome:
    """What one run did; `reports` holds each tier's own report by name."""

    succeeded: bool
    seconds: float
    run_ids: list[str]
    reports: dict[str, Any]
    checks_passed: int
    checks_failed: list[FailedCheck] = field(default_factory=list)


def run_everything(stores: Stores, *, mail: Mapping[str, Any], grace_hours: float, bars: Progress) -> RunOutcome:
    """Runs every asset once: the OLTP tier, then content and queue, then OLAP for the days that what came in touches.

    Args:
        stores: where everything is.
        mail: configuration of the asset `oltp/loaded_mail`: which mail to load.
        grace_hours: how long bodies stay in PostgreSQL after they were stored.
        bars: progress is drawn here.

    Raises:
        PlatformError: a step failed; what earlier steps did stays, and another run continues from there.
    """
    began, started = utc_now(), monotonic()
    listener = Listener(bars)
    definitions = build_defs({"platform": Platform(stores)})
    job = definitions.resolve_job_def(everything.name)
    keys = sorted(job.asset_layer.executable_asset_keys)
    results = []
    with open_instance(stores) as instance, listening(listener):
        close_runs_of_killed_processes(instance)
        for tiers, first_day_of, configuration in (
            ({oltp.GROUP}, _today, {oltp.LOADED_MAIL: mail}),
            ({content_store.GROUP, job_queue.GROUP}, _today, {content_store.PACKS: {"grace_hours": grace_hours}}),
            ({olap.GROUP}, lambda: _first_day_touched(stores, began), {}),
        ):
            results.append(
                job.execute_in_process(
                    instance=instance,
                    asset_selection=[key for key in keys if key.path[0] in tiers],
                    tags={
                        PROCESS_TAG: this_process(),
                        _RANGE_START: first_day_of().isoformat(),
                        _RANGE_END: _today().isoformat(),
                    },
                    run_config=_QUIET
                    | {"ops": {key.to_python_identifier(): {"config": each} for key, each in configuration.items()}},
                )
            )
    checks = [check for result in results for check in result.get_asset_check_evaluations()]
    failed = [
        FailedCheck(check.asset_key.to_user_string(), check.check_name, check.description or "")
        for check in checks
        if not check.passed
    ]
    return RunOutcome(
        succeeded=not failed,
        seconds=monotonic() - started,
        run_ids=[result.run_id for result in results],
        reports=listener.results,
        checks_passed=len(checks) - len(failed),
        checks_failed=failed,
    )


def _today() -> date:
    return utc_now().date()


def _first_day_touched(stores: Stores, began: datetime) -> date:
    """Returns the first day that has a partition and events that came in since this run began; today without any."""
    floor = datetime.combine(date.fromisoformat(first_day()), time.min, UTC)
    return first_day_of_new_events(stores, ingested_since=began, occurred_since=floor) or _today()
