"""Warming mailboxes up: messages between mailboxes of one tenant, a few more every day.

A mailbox that never wrote is trusted by nobody. While its status is `warming` it writes to its neighbours, so that its
reputation grows before a campaign needs it.

Belongs here: who is being warmed up, how many messages a day, what the next one is. Does not belong here: sending it (the
queue tier), when (pipelines/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from uuid import UUID

from psycopg.rows import dict_row

from penguinmails.oltp.connections import Connection, Role, connect, settled
from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "warming.sql")
FIRST_DAY_MESSAGES = 4
MORE_A_DAY = 4
MOST_A_DAY = 40
"""No document of the product gives the ramp; these are the usual beginnings of warm-up services, on the careful side."""
_RAMP = timedelta(days=60)
_PAGE = 1_000
_NOTES = (
    ("Notes of this morning", "Here is what we agreed on. Could you read it over before noon?"),
    ("Lunch on Thursday", "The place by the river has a table at half past twelve. Shall I take it?"),
    ("Second draft", "I went through your remarks; the second page is new. Tell me what you think."),
    ("Room for the meeting", "We are in the small room on the second floor this time, same hour."),
    ("Thank you", "That helped a lot. I have passed it on to the others."),
)


@dataclass(frozen=True)
class WarmingMailbox:
    """A mailbox that is being warmed up."""

    tenant_id: UUID
    email_account_id: UUID


@dataclass(frozen=True)
class Step:
    """What the next step of a mailbox is.

    Args:
        message_id: the message that waits to be sent; None when there is nothing to do now.
        reason: why there is nothing to do.
    """

    message_id: UUID | None
    reason: str = ""


def warming_mailboxes(stores: Stores) -> Iterator[WarmingMailbox]:
    """Gives out every mailbox that is being warmed up."""
    last = WarmingMailbox(UUID(int=0), UUID(int=0))
    with connect(stores.oltp_url, Role.READER) as connection:
        while True:
            values = {"after_tenant": last.tenant_id, "after_id": last.email_account_id, "limit": _PAGE}
            page = [WarmingMailbox(*row) for row in connection.execute(_QUERIES["warming_mailboxes"], values)]
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]


def next_step(stores: Stores, tenant_id: UUID, email_account_id: UUID, *, key: str, at: datetime) -> Step | None:
    """Writes the next warm-up message of a mailbox, ready to be sent.

    Args:
        key: names the step: the same key and time give the same message, which is written once.
        at: the time of the step.

    Returns:
        None when the tenant has no such mailbox.

    Raises:
        ServerError: the database does not answer; nothing was written.
    """
    with connect(stores.oltp_url, Role.LOADER) as connection:
        return settled(connection, lambda: _next_step(connection, tenant_id, email_account_id, key, at))


def allowance(days_warmed: int) -> int:
    """How many warm-up messages a mailbox may send on a day, after so many days of warming."""
    return min(MOST_A_DAY, FIRST_DAY_MESSAGES + MORE_A_DAY * days_warmed)


def _next_step(connection: Connection, tenant_id: UUID, email_account_id: UUID, key: str, at: datetime) -> Step | None:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    message_id = time_ordered_uuid(at, "warmup", tenant_id.bytes, email_account_id.bytes, key)
    names = {"tenant_id": tenant_id, "email_account_id": email_account_id, "message_id": message_id}
    times = {"day": day, "next_day": day + timedelta(days=1), "ramp_start": day - _RAMP}
    with connection.cursor(row_factory=dict_row) as cursor:
        plan = cursor.execute(_QUERIES["plan_step"], names | times).fetchone()
    if plan is None:
        return None
    if plan["status"] != "warming":
        return Step(None, f"the mailbox is {plan['status']}")
    if plan["partner"] is None:
        return Step(None, "the tenant has no second mailbox to write to")
    if plan["planned_today"] >= allowance(plan["days_warmed"]):
        return Step(None, "the mailbox has written enough for today")
    message = _compose(message_id, plan["mailbox"], plan["partner"], at)
    raw_message = message.as_bytes()
    values = names | {
        "company_id": plan["company_id"],
        "message_id_header": message["Message-ID"],
        "mailbox": plan["mailbox"],
        "partner": plan["partner"],
        "subject": message["Subject"],
        "raw_size_bytes": len(raw_message),
        "raw_message": raw_message,
    }
    connection.execute(_QUERIES["add_message"], values)
    connection.execute(_QUERIES["add_body"], values)
    return Step(message_id)


def _compose(message_id: UUID, mailbox: str, partner: str, at: datetime) -> EmailMessage:
    subject, note = _NOTES[message_id.int % len(_NOTES)]
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Subject"] = mailbox, partner, subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{message_id}@{mailbox.partition('@')[2]}>"
    message.set_content(f"{note}\n")
    return message
