"""How long rows of the growing tables stay, and taking whole months out.

Belongs here: the policies, the plan, carrying it out. Does not belong here: making months (partitions.py), retention of
bodies (content tier) and of marts (OLAP tier).

A month goes only when it is older than its policy and no other tier still needs it: every row was extracted for the marts,
no body of its messages is left here. A plan changes nothing. Carrying it out asks the same questions again under a lock, one
month a transaction, so that it may be killed and run again, and rows that came meanwhile are never lost.
Rows in a history partition (before 2026) stay: an archive that was loaded on purpose is not old because its mail is.
The ledger of mail taken in has no partitions, because its key must be unique over all time: its old rows go page by page, each
only after its message. A source that is read again after that is new mail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg import sql

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.partitions import Partition, months_after, partitions
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries

_QUERIES = Queries(Path(__file__).parent / "retention.sql")
_LOCK_SECONDS = 5
_PAGE = 5_000


@dataclass(frozen=True)
class Policy:
    """How long the months of a table stay.

    Args:
        months: whole months after the month itself.
        reason: why so long.
        blockers: queries that must count no row before a month may go, with what their rows are.
    """

    months: int
    reason: str
    blockers: tuple[tuple[str, str], ...]


POLICIES = MappingProxyType(
    {
        "email_messages": Policy(
            months=25,
            reason="two years to compare a month with, and the month itself",
            blockers=(("messages_not_stored", "messages with a body that the content tier has not taken"),),
        ),
        "email_events": Policy(
            months=13, reason="a year to compare a month with; the marts keep the sums", blockers=()
        ),
        "admin_audit_events": Policy(
            months=84,
            reason="seven years, as bodies in the content tier",
            blockers=(("audit_events_kept_for_law", "events that must be kept longer"),),
        ),
        "mail_intake": Policy(
            months=25,
            reason="as its messages: until then it is what makes loading repeatable, and keeps what was set aside",
            blockers=(),
        ),
    }
)
"""One policy for every growing table; a test asserts that none was forgotten."""
_LEDGER = "mail_intake"


@dataclass(frozen=True)
class Step:
    """What is to become of one old month.

    Args:
        table: its table.
        partition: its partition; of a table that has none, the table again.
        month: its first day.
        size_bytes: with indexes.
        blocked_by: what keeps it; empty when it may go.
    """

    table: str
    partition: str
    month: date
    size_bytes: int
    blocked_by: str


def plan(connection: Connection, *, now: datetime, extracted: str | None) -> list[Step]:
    """Returns the months that are older than their policy; changes nothing.

    Args:
        connection: a connection in the owner's login.
        now: present time.
        extracted: snapshot (pg_current_snapshot() as text) of the last extraction for the marts; None when it is not
            known: then every month is blocked.

    Raises:
        InputError: `extracted` is no snapshot.
    """
    _refuse_what_is_no_snapshot(connection, extracted)
    old = [part for part in partitions(connection) if _is_old(part, now)]
    before = months_after(now.date(), -POLICIES[_LEDGER].months)
    items = connection.execute(_QUERIES["old_items"], {"before": datetime.combine(before, time.min, UTC)})
    return [
        Step(
            part.table_name,
            part.partition_name,
            part.month or now.date(),
            part.size_bytes,
            _blocked_by(connection, part, extracted),
        )
        for part in old
    ] + [Step(_LEDGER, _LEDGER, month, size_bytes, "") for month, size_bytes in items]


def apply(
    connection: Connection,
    *,
    now: datetime,
    extracted: str | None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Step]:
    """Takes out the months that may go; returns what was done and what stayed, with the reason.

    Args: as plan(); progress is called with 1 for each month looked at.
    """
    done = []
    for step in plan(connection, now=now, extracted=extracted):
        done.append(step if step.blocked_by else _carry_out(connection, step, extracted))
        progress(1)
    return done


def _carry_out(connection: Connection, step: Step, extracted: str | None) -> Step:
    return _forget_items(connection, step) if step.table == _LEDGER else _take_out(connection, step, extracted)


def _forget_items(connection: Connection, step: Step) -> Step:
    values = {"month": step.month, "limit": _PAGE}
    while connection.execute(_QUERIES["forget_old_items"], values).rowcount:
        continue
    return step


def _is_old(part: Partition, now: datetime) -> bool:
    policy = POLICIES.get(part.table_name)
    return (
        policy is not None
        and part.month is not None
        and months_after(part.month, policy.months) < now.date().replace(day=1)
    )


def _refuse_what_is_no_snapshot(connection: Connection, extracted: str | None) -> None:
    try:
        connection.execute(_QUERIES["snapshot_is_one"], {"extracted": extracted})
    except psycopg.errors.InvalidTextRepresentation:
        raise InputError(
            "snapshot", "is none", "Give it as pg_current_snapshot() writes it, or leave it out."
        ) from None


def _blocked_by(connection: Connection, part: Partition | Step, extracted: str | None) -> str:
    if extracted is None:
        return "it is not known what the marts have taken"
    name = part.partition_name if isinstance(part, Partition) else part.partition
    table = part.table_name if isinstance(part, Partition) else part.table
    questions = (("rows_not_extracted", "rows that the marts have not taken"), *POLICIES[table].blockers)
    for query, what in questions:
        row = connection.execute(_named(query, partition=name), {"extracted": extracted}).fetchone()
        if row and row[0]:
            return f"{row[0]} {what}"
    return ""


def _take_out(connection: Connection, step: Step, extracted: str | None) -> Step:
    try:
        with connection.transaction():
            _detach_and_drop(connection, step, extracted)
    except _Needed as error:
        return _kept(step, str(error))
    except psycopg.errors.LockNotAvailable:
        return _kept(step, f"others held it for {_LOCK_SECONDS} seconds; run again")
    except psycopg.errors.ForeignKeyViolation:
        return _kept(step, "rows of other tables name its rows")
    return step


def _detach_and_drop(connection: Connection, step: Step, extracted: str | None) -> None:
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{_LOCK_SECONDS * 1000:.0f}ms")))
    connection.execute(_named("detach", partition=step.partition, table=step.table))
    connection.execute(_named("lock", partition=step.partition))
    blocked_by = _blocked_by(connection, step, extracted)
    if blocked_by:
        raise _Needed(blocked_by)
    connection.execute(_named("drop", partition=step.partition))


class _Needed(Exception):
    """The month is needed after all: what was done about it is undone."""


def _kept(step: Step, blocked_by: str) -> Step:
    return Step(step.table, step.partition, step.month, step.size_bytes, blocked_by)


def _named(query: str, **names: str) -> sql.Composed:
    return sql.SQL(_QUERIES[query]).format(**{key: sql.Identifier(name) for key, name in names.items()})
