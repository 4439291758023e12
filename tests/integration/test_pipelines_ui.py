"""`penguinmails ui` as people and scripts start it: it shows the whole code location, and ends when it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from platform_support import Platform, finished_run_fixture, platform_after_a_run_fixture  # noqa: F401 - fixtures

from penguinmails.pipelines.definitions import build_defs
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

pytestmark = [pytest.mark.servers, pytest.mark.slow]

IN_THE_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Ctrl-C is ignored, as by whatever a script starts with `&`."""
ASSETS = "{assetNodes {assetKey {path} latestMaterializationByPartition: assetMaterializations(limit: 1) {runId}}}"
PATIENCE_SECONDS = 120.0


def ask(url: str, question: str) -> Any:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": question}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def assets_shown(output: Path) -> list[dict[str, Any]]:
    """Returns the assets that the UI shows once it does."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            told, _ = json.JSONDecoder().raw_decode(output.read_text())  # Dagster's own output follows
            found = ask(told["url"], ASSETS)["assetNodes"]
        except (OSError, json.JSONDecodeError):  # it has not come so far
            found = []
        if found:
            return list(found)
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def test_the_ui_shows_every_asset_and_ends_when_it_is_told_to(platform_after_a_run: Platform, tmp_path: Path) -> None:
    resolve(Settings(home=platform_after_a_run.home))  # the servers are not the UI's to end
    command = [*IN_THE_BACKGROUND, sys.executable, "-m", "penguinmails.stack.cli", "ui", "--json"]
    output = tmp_path / "output"
    with output.open("w") as stdout, (tmp_path / "log").open("w") as log:
        ui = subprocess.Popen(command, env=os.environ | platform_after_a_run.settings, stdout=stdout, stderr=log)
    try:
        shown = {tuple(node["assetKey"]["path"]): node for node in assets_shown(output)}
        services = psutil.Process(ui.pid).children(recursive=True)
    finally:
        ui.terminate()
    ui.wait(PATIENCE_SECONDS)
    assert psutil.wait_procs(services, PATIENCE_SECONDS)[1] == []
    assert shown.keys() == {tuple(spec.key.path) for spec in build_defs().resolve_all_asset_specs()}
    assert shown["olap", "campaign_analytics"]["latestMaterializationByPartition"], "what the run left is shown"
