"""The same marts on a distributed engine: Spark SQL over the same landing zone.

DuckDB is the reference and faster as long as one machine holds the data; Spark is for what no longer fits. Every SELECT
(facts, relations, marts) is the one DuckDB runs, rendered by sqlglot. The engine is reached through Spark Connect, so a
cluster, a local Spark and engines that speak its protocol all do.

Belongs here: rendering, and the order in which relations are made. Does not belong here: any mart. Spark's client is not
a dependency of the platform: whoever has a cluster has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlglot
from sqlglot import exp

from penguinmails.olap.build import SQL
from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.landing import Manifest
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.rebuilding import without_replaced_days
from penguinmails.olap.sources import EMAIL_EVENTS, EMAIL_MESSAGES, SOURCES, ReadMode, Source
from penguinmails.stack.sql import Queries

DIALECT = "spark"
_RELATIONS = Queries(SQL / "engine" / "relations.sql")
_UUID_TEXT = (
    "LOWER(CONCAT(SUBSTRING(HEX({name}), 1, 8), '-', SUBSTRING(HEX({name}), 9, 4), '-', SUBSTRING(HEX({name}), 13, 4), "
    "'-', SUBSTRING(HEX({name}), 17, 4), '-', SUBSTRING(HEX({name}), 21, 12))) AS {name}"
)
"""Engines without a type for UUIDs have their text; in the landing zone they are sixteen bytes."""
_OTHER_NAMES = {"events_in_scope": EMAIL_EVENTS.table, "messages_in_scope": EMAIL_MESSAGES.table}
"""Here everything is in scope."""
_FACT_STEPS = ("examined_events", "quarantined_events", "message_facts")


class Session(Protocol):
    """What is needed of a SparkSession."""

    @property
    def read(self) -> Any: ...

    def sql(self, sqlQuery: str) -> Any: ...  # noqa: N803 - Spark's name

    def table(self, tableName: str) -> Any: ...  # noqa: N803 - Spark's name


@dataclass(frozen=True)
class Relation:
    """A named SELECT, rendered for the engine.

    Args:
        kept: it is asked for more than once, so the engine keeps its rows instead of making them again each time.
    """

    name: str
    sql: str
    kept: bool = False


def make_marts(
    session: Session,
    manifests: Sequence[Manifest],
    files: Mapping[str, Sequence[tuple[int, str]]],
    as_of: datetime,
) -> None:
    """Makes every fact and mart as a temporary view of `session`, named like the mart.

    Args:
        session: of Spark Connect.
        manifests: of the batches from which everything known can be made, in order.
        files: by table, the batch numbers and addresses of its Parquet files as the engine reaches them.
        as_of: moment up to which the marts are complete.
    """
    for source in SOURCES:
        _landed(session, source, files.get(source.table, ())).createOrReplaceTempView(f"landed_{source.table}")
    for relation in relations(manifests, as_of):
        made = session.sql(relation.sql)
        (made.persist() if relation.kept else made).createOrReplaceTempView(relation.name)


def events_by_day(session: Session) -> Any:
    """Returns count and checksum of the events of every tenant and day, to be compared with the operational database."""
    return session.sql(_RELATIONS["events_by_day"])


def relations(manifests: Sequence[Manifest], as_of: datetime) -> list[Relation]:
    """Returns everything that is made from `landed_<table>`, in order, rendered for the engine."""
    made = list(_relations(manifests, as_of))
    asked_for = Counter(
        _OTHER_NAMES.get(table.name, table.name)
        for relation in made
        for table in sqlglot.parse_one(relation.sql, read=DIALECT).find_all(exp.Table)
    )
    asked_for.update(["quarantined_events", EMAIL_EVENTS.table, *(mart.name for mart in MARTS)])  # by who publishes
    return [
        replace(relation, kept=asked_for[relation.name] > 1 and relation.name not in _OTHER_NAMES) for relation in made
    ]


def _relations(manifests: Sequence[Manifest], as_of: datetime) -> Iterator[Relation]:
    yield Relation("position", render(_RELATIONS["position"].format(as_of=f"{as_of.astimezone(UTC):%F %T.%f}")))
    for source in sorted(SOURCES, key=lambda source: source.mode is ReadMode.CHANGES):  # what is referred to first
        yield from _source_relations(source, manifests)
    for name, other in _OTHER_NAMES.items():
        yield Relation(name, f"SELECT * FROM {other}")  # noqa: S608 - declared names
    for name in _FACT_STEPS:
        yield Relation(name, render(fact_select(name)))
    yield Relation("signed_facts", "SELECT *, 1 AS sign FROM message_facts")
    yield Relation("first_touches", render(fact_select("first_touches")))
    for fact in FACTS:
        yield Relation(fact.name, render(fact.sql))
    for name in RELATIONS:
        yield Relation(name, render(relation_sql(name)))
    for mart in MARTS:
        if mart not in FACTS:
            yield Relation(mart.name, render(mart.sql))


def render(statement: str) -> str:
    """Returns a SELECT of DuckDB's dialect in the engine's.

    Named subqueries are put where they are used: Spark numbers them anew within every query around them, and then does not find
    what it kept of a view that has any.
    """
    tree = sqlglot.parse_one(statement, read="duckdb")
    for query in list(tree.find_all(exp.Select, exp.SetOperation)):
        for named in query.ctes:
            for table in list(query.find_all(exp.Table)):
                if table.name == named.alias and not table.db:
                    table.replace(named.this.copy().subquery(table.alias_or_name))
        query.set("with_", None)
    return tree.sql(dialect=DIALECT, comments=False)


def _source_relations(source: Source, manifests: Sequence[Manifest]) -> Iterator[Relation]:
    whole = max((m.batch for m in manifests if source.table in m.sources and m.sources[source.table].whole), default=0)
    names = {
        "table": source.table,
        "columns": ", ".join(column.name for column in source.columns),
        "key": ", ".join(source.key),
        "whole": whole,
    }
    if source.mode is ReadMode.WHOLE:
        yield Relation(source.table, render(_RELATIONS["whole"].format(**names)))
        return
    latest = _RELATIONS["latest"].format(**names)
    if source is EMAIL_EVENTS:
        latest = latest.replace("\nQUALIFY", without_replaced_days(manifests) + "\nQUALIFY")
    yield Relation(f"latest_{source.table}", render(latest))
    kept = "email_messages" if source is EMAIL_MESSAGES else "of_a_tenant"
    yield Relation(source.table, render(_RELATIONS[kept].format(**names)))


def _landed(session: Session, source: Source, files: Sequence[tuple[int, str]]) -> Any:
    types = {"UUID": "STRING", "VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ", "DECIMAL(18, 4)": "DECIMAL(18, 4)"}
    columns = ", ".join(
        f"CAST(NULL AS {types.get(column.type, column.type)}) AS {column.name}" for column in source.columns
    )
    frame = session.sql(f"SELECT {columns}, CAST(0 AS BIGINT) AS batch WHERE 1 = 0")
    batches: dict[int, list[str]] = {}
    for batch, address in files:
        batches.setdefault(batch, []).append(address)
    for batch, addresses in batches.items():
        read = session.read.parquet(*addresses)
        names = [_UUID_TEXT.format(name=name) if type_ == "binary" else name for name, type_ in read.dtypes]
        read = read.selectExpr(*names, f"CAST({batch} AS BIGINT) AS batch")
        frame = frame.unionByName(read, allowMissingColumns=True)
    return frame
