"""The assets and checks of this tier as Dagster runs them: figures that it plots, lineage, the picture, days read again."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from olap_support import (  # noqa: F401 - fixtures
    START,
    World,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap import contract
from penguinmails.olap.columns import Column
from penguinmails.olap.contract import broken_promises
from penguinmails.olap.forgetting import forgetting_state
from penguinmails.olap.marts import MARTS
from penguinmails.olap.roll_up import roll_up
from penguinmails.pipelines.assets.olap import ASSETS, BACKFILL_TAG, FACTS, LANDING, PUBLISHED, REPORT
from penguinmails.pipelines.checks.olap import CHECKS
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.stores import Stores

DAY = START.date().isoformat()


def materialized(stores: Stores, *assets: Any, **tags: str) -> dg.ExecuteInProcessResult:
    runnable = [asset for asset in (assets or (*ASSETS, *CHECKS)) if isinstance(asset, dg.AssetsDefinition)]
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            runnable, partition_key=DAY, resources={"platform": Platform(stores)}, tags=tags, instance=instance
        )


def test_what_dagster_shows(stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.message("a")
    world.event("a", "sent")
    world.event("a", "opened", 30)
    result = materialized(stores)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert [check.check_name for check in evaluations if not check.passed] == []
    assert {check.asset_key.path[-1] for check in evaluations} >= {mart.name for mart in MARTS}
    told = {event.asset_key: event.step_materialization_data.materialization.metadata for event in _events(result)}
    for key in (LANDING, *(spec.key for spec in (*FACTS, *PUBLISHED))):
        assert {"dagster/row_count", "seconds", "lag_seconds"} <= told[key].keys(), key
    assert told[dg.AssetKey(["olap", "email_daily"])]["dagster/row_count"].value == 2
    assert told[LANDING]["landed_bytes"].value > 0
    for spec in (*FACTS, *PUBLISHED):
        lineage = told[spec.key]["dagster/column_lineage"].value.deps_by_column
        assert {column.name for column in spec.metadata["dagster/column_schema"].columns} == set(lineage)
    picture = str(told[REPORT]["messages_a_day"].value).partition("base64,")[2].rstrip(")")
    assert ElementTree.fromstring(base64.b64decode(picture)).tag == "{http://www.w3.org/2000/svg}svg"

    assert not any(broken_promises(stores).values())
    (first, *others) = MARTS
    promised = dataclasses.replace(first, columns=(*first.columns, Column("weight", "DOUBLE", "Weight.")))
    monkeypatch.setattr(contract, "MARTS", (promised, *others))
    assert broken_promises(stores)[first.name] == ("column weight is not there",)

    now = datetime.now(UTC)
    assert forgetting_state(
        stores, now + timedelta(days=31)
    ).in_time  # one batch, one publication: nothing older is kept
    world.event("a", "clicked", 2)
    roll_up(stores)
    late = forgetting_state(stores, now + timedelta(days=31))
    assert not late.in_time
    assert "compact --apply" in str(late.remedy)
    assert forgetting_state(stores, now).in_time


def test_a_backfill_of_days_reads_them_again(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    world.event("a", "opened", 1)
    facts, *_ = ASSETS
    assert materialized(stores, facts).success
    with world.connect() as connection:
        connection.execute("DELETE FROM email_events WHERE event_type = 'opened'")
    daily = materialized(stores, facts)
    backfill = materialized(stores, facts, **{BACKFILL_TAG: "of this day"})
    changed = [
        next(iter(_events(run))).step_materialization_data.materialization.metadata["days_touched"].value
        for run in (daily, backfill)
    ]
    assert changed == [1, 1]
    (rows,) = (
        event.step_materialization_data.materialization.metadata["dagster/row_count"].value
        for event in _events(backfill)
        if event.asset_key == dg.AssetKey(["olap", "email_cohort_daily"])
    )
    assert rows == 1
    assert materialized(stores, *ASSETS, *CHECKS).success


def _events(result: dg.ExecuteInProcessResult) -> list[Any]:
    return result.get_asset_materialization_events()
