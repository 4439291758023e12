"""Housekeeping as Dagster runs it, on real servers: plans change nothing, the jobs execute, everything stays readable."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from platform_support import Platform as Command

from penguinmails.pipelines.assets.housekeeping import Destructive
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.jobs import housekeeping, weekly
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_housekeeping_runs_after_the_path_and_loses_nothing(home: Path) -> None:
    command = Command(home)
    assert command.run("--messages", "60")["succeeded"]
    before = command.state()
    definitions = build_defs({"platform": Platform(resolve(Settings(home=home)))})
    with dg.DagsterInstance.ephemeral() as instance:
        for job in (housekeeping, weekly, housekeeping):
            result = definitions.resolve_job_def(job.name).execute_in_process(instance=instance)
            assert result.success
            failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
            assert not failed, failed
    assert command.state() == before
    again = command.run("--messages", "60")
    assert again["succeeded"], again["checks_failed"]
    assert command.state() == before


def test_what_destroys_only_plans_unless_told_to_execute() -> None:
    assert Destructive().execute is False
    for job in (housekeeping, weekly):
        for asset in job.config["ops"].values():
            assert asset["config"] == {"execute": True}
