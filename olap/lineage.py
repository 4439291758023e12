"""Which columns every column of a mart comes from, read off the SELECTs themselves by sqlglot.

Steps and relations that nobody is given are looked through: a fact leads to columns of the operational database, a mart to
columns of facts, marts or tables. Belongs here: that reading. Does not belong here: how it is shown (pipelines).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlglot import expressions, parse_one
from sqlglot.lineage import Node, lineage

from penguinmails.olap.facts import FACTS, fact_select
from penguinmails.olap.marts import MARTS, RELATIONS, relation_sql
from penguinmails.olap.measures import MEASURES
from penguinmails.olap.sources import SOURCES

_STEPS = ("examined_events", "quarantined_events", "message_facts", "first_touches")
_LOOKED_THROUGH = {
    "events_in_scope": "SELECT * FROM email_events",
    "messages_in_scope": "SELECT * FROM email_messages",
    "signed_facts": "SELECT *, 1 AS sign FROM message_facts",
}
_TABLES = {source.table: source for source in SOURCES}
_MADE_FROM_EVENTS = (("email_events", "event_type"), ("email_events", "occurred_at"))
_COUNTED_ROWS = {
    ("campaign_analytics", "completed_leads"): tuple(
        ("lead_daily", name) for name in ("lead_id", "sent", "replied", "bounced", "unsubscribed", "spam_complaints")
    ),
    **{(fact.name, measure.name): _MADE_FROM_EVENTS for fact in FACTS for measure in MEASURES},
}
"""Columns that count rows: no column is named where they are counted."""


@dataclass(frozen=True)
class ColumnSource:
    """One column that a column is made from.

    Args:
        table: a mart, or a table of the operational database.
        column: its name there.
    """

    table: str
    column: str


@cache
def column_lineage() -> dict[str, dict[str, tuple[ColumnSource, ...]]]:
    """Returns, by mart and column, the columns it is made from; of `updated`, which is a moment of reading, none."""
    steps = {name: fact_select(name) for name in _STEPS}
    relations = {name: relation_sql(name) for name in RELATIONS}
    texts = steps | relations | _LOOKED_THROUGH
    selects = {name: parse_one(text, dialect="duckdb") for name, text in texts.items()}  # once, not for every mart
    schema = {source.table: {column.name: str(column.type) for column in source.columns} for source in SOURCES}
    schema |= {mart.name: {column.name: column.type for column in mart.columns} for mart in MARTS}
    schema["position"] = {"as_of": "TIMESTAMP"}
    found: dict[str, dict[str, tuple[ColumnSource, ...]]] = {}
    for mart in MARTS:
        nodes = lineage(
            None, mart.sql, schema=schema, sources=selects, dialect="duckdb", trim_selects=False, copy=False
        )
        found[mart.name] = {name: _sources(mart.name, name, nodes[name]) for name in mart.column_names}
    return found


def _sources(mart: str, column: str, node: Node) -> tuple[ColumnSource, ...]:
    leaves = {
        (leaf.source.name, leaf.name.rpartition(".")[2])
        for leaf in node.walk()
        if not leaf.downstream and isinstance(leaf.source, expressions.Table)
    }
    known = sorted(leaf for leaf in leaves if leaf[0] != "position") or _COUNTED_ROWS.get((mart, column), ())
    return tuple(ColumnSource(table, _in_the_database(table, name)) for table, name in known)


def _in_the_database(table: str, column: str) -> str:
    """Returns what the operational database calls a column that the landing zone calls otherwise."""
    if table not in _TABLES:
        return column
    expression = next(known.expression for known in _TABLES[table].columns if known.name == column)
    return expression if expression is not None and expression.isidentifier() else column
