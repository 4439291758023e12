"""Reading and writing the database for one batch of mail.

Belongs here: the statements of intake.sql and COPY. Does not belong here: rules (intake_mapping.py), order and retries
(intake.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.copying import copy_rows
from penguinmails.oltp.identifiers import FIXED_TIME, time_ordered_uuid
from penguinmails.oltp.intake_mapping import Answer, Event, Message, Parent
from penguinmails.oltp.mail_items import SourceItem, TableRows, Workspace
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "intake.sql")


@dataclass(frozen=True)
class LedgerEntry:
    """What became of one item: loaded, duplicate or set_aside."""

    item: SourceItem
    outcome: str
    reason: str | None = None
    message_id: UUID | None = None
    thread_headers: tuple[str, ...] = ()


_MESSAGE_COLUMNS = (
    "tenant_id",
    "id",
    "company_id",
    "email_account_id",
    "campaign_id",
    "campaign_sequence_step_id",
    "lead_id",
    "parent_message_id",
    "direction",
    "message_type",
    "message_id_header",
    "from_email",
    "to_email",
    "subject",
    "status",
    "raw_size_bytes",
    "sent",
    "delivered",
    "opened",
    "clicked",
    "replied",
    "bounced",
    "unsubscribed",
    "complained",
    "bounce_type",
    "created",
    "updated",
)
_FIRST_TIMES = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
_BODY_COLUMNS = (
    "tenant_id",
    "message_id",
    "raw_message",
    "created",
)
_EVENT_COLUMNS = (
    "tenant_id",
    "id",
    "message_id",
    "campaign_id",
    "campaign_sequence_step_id",
    "email_account_id",
    "lead_id",
    "event_type",
    "occurred_at",
    "ingested_at",
    "payload",
)
_LEDGER_COLUMNS = (
    "tenant_id",
    "id",
    "source_name",
    "item_name",
    "raw_sha256",
    "raw_size_bytes",
    "outcome",
    "reason",
    "message_id",
    "thread_headers",
    "raw_message",
    "created",
)


def write_setup(connection: Connection, workspace: Workspace, setup: Sequence[TableRows]) -> None:
    """Makes the workspace and the rows its mail refers to, as far as they are not there."""
    names = {"tenant_id": workspace.tenant_id, "id": workspace.company_id, "name": workspace.tenant_name}
    connection.execute(QUERIES["add_tenant"], names)
    connection.execute(QUERIES["add_company"], names)
    for group in setup:
        if group.rows:
            columns = list(group.rows[0])
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO NOTHING").format(
                sql.Identifier(group.table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(map(sql.Placeholder, columns)),
                sql.SQL(", ").join(map(sql.Identifier, TABLES[group.table].primary_key)),
            )
            with connection.cursor() as cursor:
                cursor.executemany(statement, group.rows)


def lock_tenant(connection: Connection, tenant_id: UUID) -> None:
    """Lets one load at a time write for the tenant, until the transaction ends."""
    connection.execute(QUERIES["lock_tenant"], {"tenant_id": tenant_id})


def known_items(
    connection: Connection, tenant_id: UUID, source_name: str, items: Sequence[SourceItem]
) -> set[tuple[str, bytes]]:
    """Returns name and digest of the items that the ledger has."""
    names = [item.name for item in items]
    rows = connection.execute(
        QUERIES["known_items"], {"tenant_id": tenant_id, "source_name": source_name, "item_names": names}
    )
    return {(name, bytes(digest)) for name, digest in rows}


def known_digests(connection: Connection, tenant_id: UUID, items: Iterable[SourceItem]) -> dict[bytes, UUID]:
    """Returns the messages that the same bytes became before."""
    digests = list({item.sha256 for item in items})
    rows = connection.execute(QUERIES["known_digests"], {"tenant_id": tenant_id, "digests": digests})
    return {bytes(digest): message_id for digest, message_id in rows}


def known_addresses(connection: Connection, query: str, tenant_id: UUID, addresses: list[str]) -> dict[str, UUID]:
    """Returns the mailboxes (`known_mailboxes`) or leads (`known_leads`) that exist."""
    return dict(connection.execute(QUERIES[query], {"tenant_id": tenant_id, "addresses": addresses}))


def known_parents(connection: Connection, tenant_id: UUID, headers: Iterable[str]) -> dict[str, Parent]:
    """Returns the messages with these Message-IDs."""
    rows = connection.execute(QUERIES["known_parents"], {"tenant_id": tenant_id, "headers": sorted(set(headers))})
    return {row[0]: Parent(*row[1:]) for row in rows}


def add_mailboxes(connection: Connection, workspace: Workspace, new: Mapping[str, UUID]) -> bool:
    """Adds mailboxes and their domains; returns False when somebody else added one meanwhile."""
    domains = sorted({address.partition("@")[2] for address in new})
    connection.execute(
        QUERIES["add_domains"],
        {
            "tenant_id": workspace.tenant_id,
            "company_id": workspace.company_id,
            "ids": [time_ordered_uuid(FIXED_TIME, "domain", workspace.tenant_id.bytes, domain) for domain in domains],
            "domains": domains,
        },
    )
    values = {"tenant_id": workspace.tenant_id, "ids": list(new.values()), "addresses": list(new)}
    return connection.execute(QUERIES["add_mailboxes"], values).rowcount == len(new)


def add_leads(connection: Connection, tenant_id: UUID, new: Mapping[str, tuple[UUID, str]]) -> bool:
    """Adds leads (address to id and name); returns False when somebody else added one meanwhile."""
    values = {
        "tenant_id": tenant_id,
        "ids": [lead_id for lead_id, _ in new.values()],
        "addresses": list(new),
        "names": [name for _, name in new.values()],
    }
    return connection.execute(QUERIES["add_leads"], values).rowcount == len(new)


def copy_messages(connection: Connection, workspace: Workspace, messages: Sequence[Message], now: datetime) -> None:
    """Writes messages, then their bodies."""
    tenant_id, company_id = workspace.tenant_id, workspace.company_id
    copy_rows(
        connection,
        "email_messages",
        _MESSAGE_COLUMNS,
        (
            (
                tenant_id,
                message.message_id,
                company_id,
                message.mailbox_id,
                message.campaign_id,
                message.campaign_sequence_step_id,
                message.lead_id,
                message.parent.message_id if message.parent else None,
                message.direction,
                message.parsed.message_type,
                message.parsed.message_id_header,
                message.parsed.from_email,
                message.parsed.to_email,
                message.parsed.subject,
                message.status,
                message.item.size_bytes,
                *(message.first_times.get(name) for name in _FIRST_TIMES),
                message.bounce_type,
                now,
                now,
            )
            for message in messages
        ),
    )
    bodies = ((tenant_id, message.message_id, message.item.raw, now) for message in messages)
    copy_rows(connection, "email_message_bodies", _BODY_COLUMNS, bodies)


def copy_events(connection: Connection, tenant_id: UUID, events: Sequence[Event]) -> None:
    """Writes events."""
    copy_rows(
        connection,
        "email_events",
        _EVENT_COLUMNS,
        (
            (
                tenant_id,
                event.event_id,
                event.message_id,
                event.campaign_id,
                event.campaign_sequence_step_id,
                event.email_account_id,
                event.lead_id,
                event.event_type,
                event.occurred_at,
                event.ingested_at,
                Jsonb(event.payload) if event.payload else None,
            )
            for event in events
        ),
    )


def copy_ledger(
    connection: Connection, tenant_id: UUID, source_name: str, entries: Sequence[LedgerEntry], now: datetime
) -> None:
    """Writes what became of the items."""
    copy_rows(
        connection,
        "mail_intake",
        _LEDGER_COLUMNS,
        (
            (
                tenant_id,
                time_ordered_uuid(now, tenant_id.bytes, source_name, entry.item.name, entry.item.sha256),
                source_name,
                entry.item.name,
                entry.item.sha256,
                entry.item.size_bytes,
                entry.outcome,
                entry.reason,
                entry.message_id,
                list(entry.thread_headers) or None,
                entry.item.raw if entry.outcome == "set_aside" else None,
                now,
            )
            for entry in entries
        ),
    )


def note_answers(connection: Connection, tenant_id: UUID, answers: Sequence[Answer], now: datetime) -> None:
    """Sets first answer and first bounce on messages of earlier batches, and what bounces say about leads."""
    if not answers:
        return
    first: dict[UUID, dict[str, datetime]] = {}
    bounce_types: dict[UUID, str] = {}
    for answer in answers:
        times = first.setdefault(answer.message_id, {})
        times.setdefault("bounced" if answer.bounce_type else "replied", answer.at)
        if answer.bounce_type:
            bounce_types.setdefault(answer.message_id, answer.bounce_type)
    connection.execute(
        QUERIES["note_answers"],
        {
            "tenant_id": tenant_id,
            "ids": list(first),
            "replied": [times.get("replied") for times in first.values()],
            "bounced": [times.get("bounced") for times in first.values()],
            "bounce_types": [bounce_types.get(message_id) for message_id in first],
            "now": now,
        },
    )


def note_lead_statuses(connection: Connection, tenant_id: UUID, statuses: Mapping[UUID, str], now: datetime) -> None:
    """Sets the status of leads that are still active."""
    if statuses:
        values = {"tenant_id": tenant_id, "ids": list(statuses), "statuses": list(statuses.values()), "now": now}
        connection.execute(QUERIES["note_lead_statuses"], values)


def link_waiting_answers(connection: Connection, tenant_id: UUID, messages: Sequence[Message], now: datetime) -> None:
    """Links answers that came before these messages to them."""
    with_header = [message for message in messages if message.parsed.message_id_header]
    if with_header:
        values = {
            "tenant_id": tenant_id,
            "headers": [message.parsed.message_id_header for message in with_header],
            "ids": [message.message_id for message in with_header],
            "now": now,
        }
        connection.execute(QUERIES["link_waiting_answers"], values)
