"""Tables as Dagster's assets: figures when they change, nothing when they do not, and no tier that waits is passed over."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from oltp_support import shared_stores, stores

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.tables import TABLES
from penguinmails.pipelines.assets.oltp import READ_BY_OTHER_TIERS, tables
from penguinmails.pipelines.definitions import build_defs
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.stores import Stores

__all__ = ["shared_stores", "stores"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def observed(instance: dg.DagsterInstance, stores: Stores) -> dict[str, dict[str, object]]:
    """Observes all tables; returns the figures of those that were written down."""
    done = dg.materialize([tables], instance=instance, resources={"platform": Platform(stores)})
    assert done.success
    return {
        event.asset_key.path[-1]: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in done.get_asset_materialization_events()
        if event.asset_key
    }


def test_figures_are_written_down_when_they_change(stores: Stores, instance: dg.DagsterInstance) -> None:
    first = observed(instance, stores)
    assert set(first) == set(TABLES)
    assert first["leads"]["dagster/row_count"] == 0
    assert all(figures["row_security"] for figures in first.values())
    assert first["email_events"]["oldest_partition"] == "2026_01"
    assert int(str(first["leads"]["size_bytes"])) > 0
    assert set(observed(instance, stores)) == READ_BY_OTHER_TIERS
    with connect(stores.oltp_url, Role.LOADER) as connection:
        connection.execute("INSERT INTO users (email) VALUES ('new@example.com')")
    again = observed(instance, stores)
    assert set(again) == READ_BY_OTHER_TIERS | {"users"}
    assert again["users"]["dagster/row_count"] == 1


def test_no_asset_of_another_tier_waits_for_a_table_that_may_be_skipped() -> None:
    graph = build_defs().resolve_asset_graph()
    own = {dg.AssetKey(["oltp", name]) for name in TABLES}
    waited_for = {key.path[-1] for key in own if graph.get(key).child_keys - own}
    assert waited_for <= READ_BY_OTHER_TIERS
