"""Verification: the facts, kept up to date by differences, against facts made from scratch out of the landing zone.

Belongs here: that comparison. Does not belong here: comparing with the operational database (reconcile.py).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from penguinmails.olap.build import build_path, open_build
from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.facts import FACTS
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
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


def _compare(folder: Path, scratch: Path) -> list[TableComparison]:
    with open_build(folder) as build:
        quoted = "'" + str(scratch).replace("'", "''") + "'"
        build.connection.execute(f"ATTACH {quoted} AS scratch (READ_ONLY)")
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
