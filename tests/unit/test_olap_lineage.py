"""Lineage and the semantic layer: every column leads to what it is made from, every number has its formula."""

from __future__ import annotations

import pytest

from penguinmails.olap.declarations import Mart
from penguinmails.olap.lineage import ColumnSource, column_lineage
from penguinmails.olap.marts import MARTS
from penguinmails.olap.semantic_layer import described_metrics
from penguinmails.oltp.tables import TABLES

COLUMNS = {mart.name: set(mart.column_names) for mart in MARTS} | {
    name: {column.name for column in table.columns} for name, table in TABLES.items()
}


@pytest.mark.parametrize("mart", MARTS, ids=lambda mart: mart.name)
def test_every_column_leads_to_columns_that_there_are(mart: Mart) -> None:
    found = column_lineage()[mart.name]
    assert list(found) == list(mart.column_names)
    for column, sources in found.items():
        assert sources or column == "updated", column
        for source in sources:
            assert source.column in COLUMNS[source.table], (column, source)


def test_lineage_looks_through_what_nobody_is_given() -> None:
    lineage = column_lineage()
    assert lineage["lead_daily"]["lead_id"] == (ColumnSource("email_messages", "lead_id"),)
    assert lineage["tenant_weekly"]["sent"] == (ColumnSource("tenant_daily", "sent"),)
    assert ColumnSource("email_cohort_daily", "bounced") in lineage["mailbox_analytics"]["health_score"]
    assert lineage["executive_business_summary"]["plan_price"] == (ColumnSource("plans", "price_monthly"),)
    assert lineage["admin_audit_log"]["id"] == (ColumnSource("admin_audit_events", "id"),)


def test_every_number_has_formula_unit_and_grain() -> None:
    for metric in described_metrics():
        assert metric.formula, metric.name
        assert metric.unit, metric.name
        assert metric.grains, metric.name
        assert (metric.numerator is None) == (metric.denominator is None)
