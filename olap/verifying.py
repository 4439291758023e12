"""Verification: the facts, kept up to date by differences, against facts made from scratch out of the landing zone; and one
published file against another.

Belongs here: those comparisons. Does not belong here: comparing with the operational database (reconcile.py).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from penguinmails.olap.build import build_path, open_build
from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.facts import FACTS
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.marts import MARTS
from penguinmails.olap.roll_up import apply_chain, landing_of
from penguinmails.stack.stores import Stores

COMPARED = ("email_events", "email_messages", "message_facts", "quarantined_events", *(fact.name for fact in FACTS))


@dataclass(frozen=True)
class TableComparison:
    """One table of the build beside the same table made from scratch; both counts are 0 when they are equal."""

    table: str
    rows: int
    missing: int
    unexpected: int


def verify(stores: Stores, *, wait_seconds: float = WAIT_SECONDS) -> tuple[TableComparison, ...]:
    """Makes the facts from scratch in a file of their own and compares every table, row for row.

    Raises:
        NothingPublished: nothing was rolled up yet.
        LandingDamaged: the landing zone lacks something.
    """
    folder = stores.marts_folder
    scratch = folder / "verification"
    with one_at_a_time(folder, wait_seconds=wait_seconds):
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            with open_build(folder) as build:
                position = build.position()
            if position is None:
                raise NothingPublished("the marts", "have never been rolled up", "Run 'penguinmails marts roll-up'.")
            with open_build(scratch) as anew:
                apply_chain(anew, landing_of(stores, incoming=scratch / "incoming"), up_to=position.batch)
            return tuple(_compare(folder, build_path(scratch)))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def compare_published(one: Path, other: Path) -> tuple[TableComparison, ...]:
    """Compares every mart of two published files, row for row, leaving out up to when each is complete.

    Args:
        one: the file that is to be judged: rows that only `other` has are missing.
        other: the file that is right.
    """
    found = []
    with duckdb.connect() as connection:
        for name, path in {"one": one, "other": other}.items():
            connection.execute(f"ATTACH '{_quoted(path)}' AS {name} (READ_ONLY)")
        for mart in MARTS:
            columns = ", ".join(name for name in mart.column_names if name != "updated")
            counts = connection.execute(_PUBLISHED_COMPARISON.format(mart=mart.name, columns=columns)).fetchone()
            if counts is None:
                raise AssertionError("an aggregate always answers")
            found.append(TableComparison(mart.name, *counts))
    return tuple(found)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _compare(folder: Path, scratch: Path) -> list[TableComparison]:
    with open_build(folder) as build:
        build.connection.execute(f"ATTACH '{_quoted(scratch)}' AS scratch (READ_ONLY)")
        found = []
        for table in COMPARED:
            counts = build.connection.execute(_COMPARISON.format(table=table)).fetchone()
            if counts is None:
                raise AssertionError("an aggregate always answers")
            found.append(TableComparison(table, *counts))
        build.connection.execute("DETACH scratch")
    return found


_COMPARISON = """
SELECT
    (SELECT COUNT(*) FROM {table}),
    (SELECT COUNT(*) FROM (SELECT * FROM scratch.{table} EXCEPT ALL SELECT * FROM {table})),
    (SELECT COUNT(*) FROM (SELECT * FROM {table} EXCEPT ALL SELECT * FROM scratch.{table}))
"""

_PUBLISHED_COMPARISON = """
WITH judged AS (SELECT {columns} FROM one.{mart}), expected AS (SELECT {columns} FROM other.{mart})
SELECT
    (SELECT COUNT(*) FROM judged),
    (SELECT COUNT(*) FROM (FROM expected EXCEPT ALL FROM judged)),
    (SELECT COUNT(*) FROM (FROM judged EXCEPT ALL FROM expected))
"""
