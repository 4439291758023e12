"""Housekeeping as Dagster runs it, on real servers: plans change nothing, the jobs execute, everything stays readable."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
from platform_support import SYNTHETIC, FinishedRun, finished_run_fixture, platform_after_a_run_fixture  # noqa: F401 - fixtures
from platform_support import Platform as Command

from penguinmails.pipelines.assets.housekeeping import Destructive
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.jobs import daily, everything, housekeeping, watch_queue, weekly
from penguinmails.pipelines.resources import Platform
from penguinmails.pipelines.run_history import KEPT, count_old_runs, forget_old_runs
from penguinmails.stack.clock import utc_now
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_housekeeping_runs_after_the_path_and_loses_nothing(
    platform_after_a_run: Command, finished_run: FinishedRun
) -> None:
    command, before = platform_after_a_run, finished_run.state
    definitions = build_defs({"platform": Platform(resolve(Settings(home=command.home)))})
    with dg.DagsterInstance.ephemeral() as instance:
        for job in (watch_queue, housekeeping, weekly, housekeeping):
            result = definitions.resolve_job_def(job.name).execute_in_process(instance=instance)
            assert result.success
            failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
            assert not failed, failed
        check_what_dagster_forgets(instance)
    assert command.state() == before
    again = command.run(*SYNTHETIC)
    assert again["succeeded"], again["checks_failed"]
    assert command.state() == before


def check_what_dagster_forgets(instance: dg.DagsterInstance) -> None:
    """Runs go by their job's time, never one that makes a day; counting changes nothing."""
    soon, late = utc_now() + timedelta(days=8), utc_now() + timedelta(days=400)
    assert not KEPT.keys() & {daily.name, everything.name}
    assert count_old_runs(instance, now=utc_now()).runs == 0
    for _ in range(2):
        assert count_old_runs(instance, now=soon).runs_by_job == dict.fromkeys(KEPT, 0) | {watch_queue.name: 1}
    assert forget_old_runs(instance, now=soon).runs == 1
    assert instance.get_runs_count() == 3
    assert forget_old_runs(instance, now=late).runs_by_job[housekeeping.name] == 2
    assert instance.get_runs_count() == 0


def test_what_destroys_only_plans_unless_told_to_execute() -> None:
    assert Destructive().execute is False
    for job in (housekeeping, weekly):
        for asset in job.config["ops"].values():
            assert asset["config"] == {"execute": True}
