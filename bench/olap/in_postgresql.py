"""All facts and marts made by PostgreSQL, from the same SELECTs, for comparison.

The sources are views of the columns that the marts are made from; every step and every mart becomes an unlogged table, the daily
sums views, as they are in the published file. Rates are left out: they are views that nothing is made from.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import sqlglot

from penguinmails.olap.declarations import Kind
from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.rates import RATES
from penguinmails.olap.sources import SOURCES
from penguinmails.stack.stores import Stores

SCHEMA = "bench_olap"
_SETTINGS = (
    "SET jit = off",
    "SET work_mem = '512MB'",
    "SET max_parallel_workers_per_gather = 2",
    "SET timezone = 'UTC'",
)
_KEPT = "CREATE UNLOGGED TABLE"
_STEPS = ("examined_events", "quarantined_events", "message_facts")


def recompute(stores: Stores) -> dict[str, Any]:
    """Makes everything, and returns how long it took by its parts."""
    seconds: dict[str, float] = {}
    with psycopg.connect(stores.oltp_url.get_secret_value(), autocommit=True) as connection:
        for setting in _SETTINGS:
            connection.execute(setting)
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        connection.execute(f"SET search_path = {SCHEMA}, public")
        for part, statement in statements():
            started_at = time.perf_counter()
            connection.execute(statement.encode())
            seconds[part] = seconds.get(part, 0) + time.perf_counter() - started_at
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    return {f"{part}_seconds": taken for part, taken in seconds.items() if part != "sources"}


def statements() -> Iterator[tuple[str, str]]:
    """Yields every statement with the part it belongs to, in order."""
    for source in SOURCES:
        columns = ", ".join(
            f"{column.expression or column.name}{_zoneless(column.type)} AS {column.name}" for column in source.columns
        )
        yield (
            "sources",
            f"CREATE VIEW {source.table} AS SELECT {columns} FROM public.{source.table} WHERE {source.only}",
        )
    yield "sources", "CREATE VIEW position AS SELECT now() AT TIME ZONE 'UTC' AS as_of"
    for name, table in {"events_in_scope": "email_events", "messages_in_scope": "email_messages"}.items():
        yield "sources", f"CREATE VIEW {name} AS SELECT * FROM {table}"
    for name in _STEPS:
        yield "facts", f"{_KEPT} {name} AS {rendered(fact_select(name))}"
    yield "facts", "CREATE VIEW signed_facts AS SELECT *, 1 AS sign FROM message_facts"
    yield "facts", f"CREATE VIEW first_touches AS {rendered(fact_select('first_touches'))}"
    for fact in FACTS:
        yield "facts", f"{_KEPT} {fact.name} AS {rendered(fact.sql)}"
        yield "facts", f"ANALYZE {fact.name}"
    for name in RELATIONS:
        yield "marts", f"CREATE VIEW {name} AS {rendered(relation_sql(name))}"
    for mart in MARTS:
        if mart not in FACTS and mart not in RATES:
            made = "CREATE VIEW" if mart.kind is Kind.VIEW else _KEPT
            yield "marts", f"{made} {mart.name} AS {rendered(mart.sql)}"


def rendered(select: str) -> str:
    """Returns a SELECT of DuckDB's dialect in PostgreSQL's, which has no smallest UUID."""
    text = sqlglot.transpile(select, read="duckdb", write="postgres", comments=False)[0]
    return text.replace("MIN(subscription_id)", "MIN(subscription_id::text)::uuid")


def _zoneless(type_: str) -> str:
    return " AT TIME ZONE 'UTC'" if type_ == "TIMESTAMP" else ""
