"""The code location: loads offline in a fresh interpreter, and every asset says what it is."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from penguinmails.olap.marts import MARTS
from penguinmails.oltp.tables import TABLES
from penguinmails.pipelines.automation import nightly
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.partitions import FIRST_DAY_VARIABLE, first_day
from penguinmails.stack.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
TIERS = {"oltp", "content", "olap", "queue"}
LOADS_OFFLINE = """
import builtins, os, pathlib, socket, sys, tempfile
import dagster
def refuse(*arguments, **named): raise AssertionError(f"the code location opened something: {arguments}")
socket.socket.connect = socket.create_connection = refuse
before = set(os.listdir(sys.argv[1]))
from penguinmails.pipelines.definitions import defs
dagster.Definitions.validate_loadable(defs)
assert set(os.listdir(sys.argv[1])) == before, "loading wrote files"
heavy = {"boto3", "duckdb", "pyarrow", "pandas", "adbc_driver_postgresql"} & set(sys.modules)
assert not heavy, f"loading imports {heavy}"
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return list(definitions.resolve_all_asset_specs())


def test_the_code_location_loads_offline_in_a_fresh_interpreter(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PENGUINMAILS_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", LOADS_OFFLINE, tmp_path], check=True, env=environment, cwd=tmp_path)


def test_every_asset_says_what_it_is(definitions: dg.Definitions) -> None:
    for spec in specs(definitions):
        assert len(spec.key.path) == 2, spec.key
        section = (
            f"_{TABLES[spec.key.path[1]].section}" if spec.group_name and spec.group_name.startswith("oltp_") else ""
        )
        assert spec.group_name in (f"{spec.key.path[0]}{section}", "housekeeping"), spec.key
        assert spec.description, spec.key
        assert spec.kinds, spec.key
        assert spec.owners, spec.key


def test_every_table_and_mart_is_an_asset_with_its_columns(definitions: dg.Definitions) -> None:
    by_key = {tuple(spec.key.path): spec for spec in specs(definitions)}
    for name, table in TABLES.items():
        columns = by_key["oltp", name].metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == [column.name for column in table.columns]
        assert all(column.description for column in columns)
    for mart in MARTS:
        columns = by_key["olap", mart.name].metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == list(mart.column_names)


def test_the_four_tiers_are_one_graph(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    upstream = graph.get_ancestor_asset_keys(dg.AssetKey(["olap", "campaign_analytics"]))
    assert dg.AssetKey(["oltp", "email_events"]) in upstream
    assert dg.AssetKey(["oltp", "schema"]) in upstream
    assert dg.AssetKey(["oltp", "email_message_bodies"]) in graph.get_ancestor_asset_keys(
        dg.AssetKey(["content", "packs"])
    )


def test_the_tiers_follow_one_another(definitions: dg.Definitions) -> None:
    """No arrow between two groups has one back: the picture of the whole can be read."""
    group_of = {spec.key: spec.group_name for spec in specs(definitions)}
    arrows = {
        (group_of[dep.asset_key], spec.group_name)
        for spec in specs(definitions)
        for dep in spec.deps
        if group_of[dep.asset_key] != spec.group_name
    }
    assert not {(to, from_) for from_, to in arrows} & arrows


def test_every_check_says_what_it_checks(definitions: dg.Definitions) -> None:
    checks = definitions.resolve_asset_graph().asset_check_keys
    assert {check.asset_key.path[0] for check in checks} == TIERS


def test_the_nightly_run_takes_the_day_that_has_just_ended() -> None:
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 3, 1, 2, tzinfo=UTC))
    (request,) = nightly(context)
    assert request.partition_key == "2026-02-28"
    before_the_first_day = dg.build_schedule_context(scheduled_execution_time=datetime(2020, 1, 1, 2, tzinfo=UTC))
    assert list(nightly(before_the_first_day)) == []


def test_a_first_day_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FIRST_DAY_VARIABLE, "yesterday")
    with pytest.raises(SettingsError, match=FIRST_DAY_VARIABLE):
        first_day()


def test_the_instance_frees_the_slots_of_dead_runs() -> None:
    policies = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert policies["run_monitoring"]["enabled"] is True
    assert policies["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert policies["telemetry"]["enabled"] is False
