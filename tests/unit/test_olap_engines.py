"""Every SELECT of the marts can be said in the distributed engine's dialect, and reads nothing the engine does not have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlglot
from sqlglot import expressions

from penguinmails.olap.engines import DIALECT, relations
from penguinmails.olap.extraction import Mark
from penguinmails.olap.landing import LandedSource, Manifest
from penguinmails.olap.marts import MARTS
from penguinmails.olap.sources import SOURCES

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(name="manifests")
def manifests_fixture() -> list[Manifest]:
    mark = Mark("1:1:", "1", 1, AS_OF)
    sources = {source.table: LandedSource(whole=True, rows=0, parts=()) for source in SOURCES}
    return [Manifest(batch=1, base=1, previous=None, mark=mark, sources=sources, fingerprints={}, contents={})]


def test_every_relation_parses_and_reads_only_what_was_made_before(manifests: list[Manifest]) -> None:
    known = {f"landed_{source.table}" for source in SOURCES}
    for relation in relations(manifests, AS_OF):
        parsed = sqlglot.parse_one(relation.sql, read=DIALECT)
        local = {cte.alias for cte in parsed.find_all(expressions.CTE)}
        read = {table.name for table in parsed.find_all(expressions.Table)}
        assert read - local <= known, relation.name
        known.add(relation.name)
    assert {mart.name for mart in MARTS} <= known
