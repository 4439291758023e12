"""Declarations: every mart has its SELECT, and the SELECT gives the declared columns in the declared types."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest

from penguinmails.olap.build import Build
from penguinmails.olap.charts import Series, bar_chart, line_chart, standalone
from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.limits import HEALTH_SCORE, TENANT_HEALTH, WARM_UP_PROGRESS
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.measures import MEASURES
from penguinmails.olap.metrics import METRICS
from penguinmails.olap.sources import SOURCES

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(name="empty_build", scope="module")
def empty_build_fixture() -> duckdb.DuckDBPyConnection:
    """A build without rows, with everything marts are made from."""
    connection = duckdb.connect()
    Build(connection).empty()
    for name in RELATIONS:
        connection.execute(f"CREATE TEMP VIEW {name} AS {relation_sql(name)}")
    for mart in MARTS:
        if mart.kind is not Kind.FACT:
            connection.execute(f"CREATE TEMP VIEW {mart.name} AS {mart.sql}")
    return connection


@pytest.mark.parametrize("mart", MARTS, ids=lambda mart: mart.name)
def test_a_mart_gives_the_columns_it_declares(mart: Mart, empty_build: duckdb.DuckDBPyConnection) -> None:
    found = {name: type_ for name, type_, *_ in empty_build.execute(f"DESCRIBE {mart.name}").fetchall()}
    assert list(found) == list(mart.column_names) if mart.kind is Kind.VIEW else set(found) == set(mart.column_names)
    if mart.kind is Kind.VIEW:
        assert found == {column.name: column.type for column in mart.columns}
    assert "tenant_id" in found
    assert set(mart.key) <= set(found)


def test_everything_is_described_once() -> None:
    names = [mart.name for mart in MARTS]
    assert len(set(names)) == len(names)
    known = {source.table for source in SOURCES} | set(names)
    for mart in MARTS:
        assert mart.description
        assert mart.grain
        assert set(mart.depends_on) <= known, mart.name
        assert all(column.description for column in mart.columns), mart.name


def test_rates_are_made_of_measures() -> None:
    measures = {measure.name for measure in MEASURES}
    assert {metric.numerator for metric in METRICS} | {metric.denominator for metric in METRICS} <= measures


def test_the_docs_say_by_which_limits_marts_judge() -> None:
    page = (DOCS / "marts.md").read_text()
    assert [said for said in (HEALTH_SCORE, WARM_UP_PROGRESS, TENANT_HEALTH) if said not in page] == []


def test_charts_of_nothing_are_charts() -> None:
    assert line_chart("empty", [], [Series("one", [])], unit="%").startswith("<svg")
    assert bar_chart("empty", [], [], unit="%").startswith("<svg")
    gap = line_chart("gap", ["a", "b", "c"], [Series("one", [1, None, 2])], unit="%")
    assert gap.count("M") == 2
    ElementTree.fromstring(standalone(gap))


@pytest.mark.parametrize(
    ("highest", "top"), [(0, "1"), (95.8, "100"), (0.29, "0.4"), (7, "8"), (8123, "10,000"), (8, "8")]
)
def test_axes_end_at_round_figures_that_hold_everything(highest: float, top: str) -> None:
    drawn = line_chart("axis", ["a"], [Series("one", [highest])], unit="%")
    assert f">{top}</text>" in drawn
