"""Looking at the whole database: isolation, contexts, references that have no foreign key, partitions.

Belongs here: one question each, answered as a Finding, for `penguinmails oltp check`, the doctor and the pipelines' checks.
Does not belong here: mending.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.contexts import State, accepted_keys, state
from penguinmails.oltp.partitions import months_after, newest_month, partitions, rows_in_default_partitions
from penguinmails.oltp.schema import differences
from penguinmails.stack.findings import Finding
from penguinmails.stack.sql import Queries

LOOK_BACK = timedelta(days=40)
"""How far back references are followed: a month and a bit, so that a check stays a matter of seconds."""
_MIGRATE = "Run 'penguinmails oltp migrate'."
_QUERIES = Queries(Path(__file__).parent / "checking.sql")


def check_schema(connection: Connection) -> Finding:
    """The live database equals the declarations."""
    found = differences(connection)
    if not found:
        return Finding("OLTP schema", ok=True, detail="equals the declarations")
    first = f"{found[0].table}{'.' if found[0].column else ''}{found[0].column}: {found[0].problem}"
    return Finding("OLTP schema", ok=False, detail=f"{len(found)} differences; first {first}", remedy=_MIGRATE)


def check_isolation(connection: Connection) -> Finding:
    """Every table and partition is isolated, no sample tells its values, and no login of the application gets past it."""
    name = "OLTP isolation"
    tables = [str(row[0]) for row in connection.execute(_QUERIES["tables_without_isolation"])]
    if tables:
        return Finding(name, ok=False, detail=f"open: {', '.join(tables)}", remedy="Close them before anything else.")
    sampled = [str(row[0]) for row in connection.execute(_QUERIES["columns_the_planner_samples"])]
    if sampled:
        detail = f"EXPLAIN tells values of {len(sampled)} columns, first {sampled[0]}"
        remedy = "Run 'penguinmails oltp migrate'; before PostgreSQL 18 old samples go with a dump and restore."
        return Finding(name, ok=False, detail=detail, remedy=remedy)
    logins = [str(row[0]) for row in connection.execute(_QUERIES["logins_past_isolation"])]
    if logins:
        remedy = "Take BYPASSRLS and roles that have it from them."
        return Finding(name, ok=False, detail=f"logins that see past it: {', '.join(logins)}", remedy=remedy)
    return Finding(name, ok=True, detail="forced on every table and partition")


def check_contexts(connection: Connection) -> Finding:
    """Contexts are open or sealed, and somebody can open a session of sealed ones."""
    name = "OLTP contexts"
    match state(connection):
        case State.OPEN:
            return Finding(name, ok=True, detail="open: the application's login may name any tenant")
        case State.SEALED:
            keys = ", ".join(key.key_id for key in accepted_keys(connection))
            remedy = "" if keys else "Run 'penguinmails oltp contexts rotate': until then the application sees no rows."
            return Finding(name, bool(keys), f"sealed, accepted keys: {keys or 'none'}", remedy)
        case None:
            remedy = "Find out who changed it, then run 'penguinmails oltp contexts seal' or 'open'."
            return Finding(
                name, ok=False, detail="the functions of contexts are neither open nor sealed", remedy=remedy
            )


def check_partitions_ahead(connection: Connection, today: date) -> Finding:
    """The months to come are made."""
    newest = newest_month(connection)
    ok = newest is not None and newest >= months_after(today, 1)
    detail = f"made until {newest:%Y-%m}" if newest else "none"
    return Finding("OLTP partitions ahead", ok, detail, "" if ok else "Run 'penguinmails oltp partitions --make'.")


def check_default_partitions(connection: Connection) -> Finding:
    """No row found its month missing."""
    if not partitions(connection):
        return Finding("OLTP default partitions", ok=False, detail="there are no partitions", remedy=_MIGRATE)
    filled = [f"{table} ({rows})" for table, rows in rows_in_default_partitions(connection).items() if rows]
    remedy = "Make the months of these rows, then move the rows: see docs/oltp.md, Partitions." if filled else ""
    return Finding("OLTP default partitions", not filled, f"rows in {', '.join(filled)}" if filled else "empty", remedy)


def check_references(connection: Connection, now: datetime) -> Finding:
    """Events of the last weeks have their message, answers their parent."""
    since = {"since": now - LOOK_BACK}
    counts = {}
    for query, what in (("events_without_message", "events"), ("messages_without_parent", "answers")):
        row = connection.execute(_QUERIES[query], since).fetchone()
        counts[what] = int(row[0]) if row else 0
    lost = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    remedy = "Find what deleted messages, or wrote events of none; retention takes whole months only." if lost else ""
    return Finding("OLTP references", not lost, f"name nothing: {lost}" if lost else "all found", remedy)


def check_database(connection: Connection, now: datetime) -> list[Finding]:
    """Asks everything above."""
    return [
        check_schema(connection),
        check_isolation(connection),
        check_contexts(connection),
        check_partitions_ahead(connection, now.date()),
        check_default_partitions(connection),
        check_references(connection, now),
    ]
