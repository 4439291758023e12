"""From parsed messages to rows: direction, mailbox, lead, thread and the events that the mail itself proves.

Belongs here: the rules, applied to one batch in memory. Does not belong here: reading or writing the database
(intake_writing.py), headers (mail_parsing.py).

The rules, in source order, for mail about which the source says nothing itself:
- a bounce or an automatic reply is inbound;
- an answer to a message of ours, from another address than ours, is inbound;
- everything else is outbound: its sender is one of our mailboxes, its first recipient a lead.
A message without usable sender belongs to the mailbox NOBODY. An outbound message proves `sent`, and `delivered` when it
carries a later Received; an inbound answer proves `replied` on what it answers, a bounce `bounced`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.mail_items import SourceItem, Workspace
from penguinmails.oltp.mail_parsing import ParsedMail, usable_address

NOBODY = "nobody@unknown.invalid"
"""Mailbox of messages that name no usable sender or recipient of ours."""
_DAEMONS = ("mailer-daemon@", "postmaster@")


@dataclass(frozen=True)
class Parent:
    """A message that others answer."""

    message_id: UUID
    direction: str
    message_type: str
    from_email: str | None
    email_account_id: UUID | None
    lead_id: UUID | None
    campaign_id: UUID | None
    campaign_sequence_step_id: UUID | None


@dataclass
class Message:
    """One row of email_messages in the making."""

    item: SourceItem
    parsed: ParsedMail
    message_id: UUID
    direction: str
    mailbox: str | None
    mailbox_id: UUID | None
    lead: str | None
    lead_name: str
    lead_id: UUID | None
    parent: Parent | None
    campaign_id: UUID | None
    campaign_sequence_step_id: UUID | None
    status: str
    first_times: dict[str, datetime] = field(default_factory=dict)
    bounce_type: str | None = None

    def as_parent(self) -> Parent:
        return Parent(
            self.message_id,
            self.direction,
            self.parsed.message_type,
            self.parsed.from_email,
            self.mailbox_id,
            self.lead_id,
            self.campaign_id,
            self.campaign_sequence_step_id,
        )


@dataclass(frozen=True)
class Event:
    """One row of email_events."""

    event_id: UUID
    message_id: UUID
    campaign_id: UUID | None
    campaign_sequence_step_id: UUID | None
    email_account_id: UUID | None
    lead_id: UUID | None
    event_type: str
    occurred_at: datetime
    ingested_at: datetime
    payload: dict[str, object]


@dataclass(frozen=True)
class Answer:
    """What an answer or bounce says about a message: its first times, and what becomes of the lead."""

    message_id: UUID
    at: datetime
    bounce_type: str | None
    lead_id: UUID | None


def message_id_of(workspace: Workspace, item: SourceItem, parsed: ParsedMail) -> UUID:
    """Returns the id that these bytes have in this tenant, whoever loads them and whenever."""
    return time_ordered_uuid(parsed.at, workspace.tenant_id.bytes, item.sha256)


def new_message(workspace: Workspace, item: SourceItem, parsed: ParsedMail, parent: Parent | None) -> Message:
    """Applies the rules of direction, mailbox and lead; ids of mailbox and lead are filled in later."""
    direction = item.plan.direction if item.plan else _direction(parsed, parent)
    inbound = direction == "inbound"
    answers_ours = parent if inbound and parent and parent.direction == "outbound" else None
    of_campaign = answers_ours or item.plan
    lead, lead_name = _lead(parsed, inbound=inbound)
    return Message(
        item=item,
        parsed=parsed,
        message_id=message_id_of(workspace, item, parsed),
        direction=direction,
        mailbox=None if answers_ours else (parsed.to_email if inbound else parsed.from_email) or NOBODY,
        mailbox_id=answers_ours.email_account_id if answers_ours else None,
        lead=None if answers_ours and answers_ours.lead_id else lead,
        lead_name=lead_name,
        lead_id=answers_ours.lead_id if answers_ours else None,
        parent=parent,
        campaign_id=of_campaign.campaign_id if of_campaign else None,
        campaign_sequence_step_id=of_campaign.campaign_sequence_step_id if of_campaign else None,
        status="received" if inbound else "sent",
    )


def own_events(message: Message, now: datetime) -> list[Event]:
    """Events of an outbound message itself: what it proves, then what its source knows. Sets the message's first times."""
    if message.direction != "outbound":
        return []
    happened: list[tuple[str, datetime, datetime, dict[str, object]]] = [("sent", message.parsed.at, now, {})]
    if message.parsed.received_at:
        happened.append(("delivered", message.parsed.received_at, now, {}))
    happened += [
        (planned.event_type, planned.occurred_at, planned.ingested_at, dict(planned.payload))
        for planned in (message.item.plan.events if message.item.plan else ())
    ]
    for event_type, occurred_at, _, _ in happened:
        known = message.first_times.get(event_type)
        message.first_times[event_type] = min(known, occurred_at) if known else occurred_at
    if "delivered" in message.first_times:
        message.status = "delivered"
    counts: dict[str, int] = {}
    events = []
    for event_type, occurred_at, ingested_at, payload in happened:
        counts[event_type] = counts.get(event_type, 0) + 1
        key = f"{event_type} {counts[event_type]}"
        events.append(
            _event(message.as_parent(), message.message_id, key, event_type, occurred_at, ingested_at, payload)
        )
    return events


def answer_events(message: Message, now: datetime) -> tuple[list[Event], list[Answer]]:
    """What an inbound message proves about the outbound one it answers."""
    parent = message.parent
    if message.direction != "inbound" or parent is None or parent.direction != "outbound":
        return [], []
    bounce = message.parsed.bounce
    at = message.parsed.at
    if bounce:
        payload: dict[str, object] = {"bounce_type": bounce.bounce_type, "code": bounce.code}
        event = _event(parent, message.message_id, "bounced", "bounced", at, now, payload)
        return [event], [Answer(parent.message_id, at, bounce.bounce_type, parent.lead_id)]
    if message.parsed.message_type == "email":
        event = _event(parent, message.message_id, "replied", "replied", at, now, {})
        return [event], [Answer(parent.message_id, at, None, None)]
    return [], []


def find_parent(parsed: ParsedMail, known: Callable[[str], Parent | None]) -> Parent | None:
    """Returns the nearest message that is known of those it answers."""
    return next((parent for header in parsed.thread_headers if (parent := known(header))), None)


def addresses_of(messages: Iterable[ParsedMail]) -> list[str]:
    """Every address that may become a mailbox or a lead."""
    found = {NOBODY}
    for parsed in messages:
        found.update(address for address in (parsed.from_email, parsed.to_email) if address)
        if parsed.bounce and (recipient := usable_address(parsed.bounce.recipient)):
            found.add(recipient)
    return sorted(found)


def _direction(parsed: ParsedMail, parent: Parent | None) -> str:
    if parsed.message_type in ("bounce", "auto_reply"):
        return "inbound"
    answers_ours = parent and parent.direction == "outbound" and parent.from_email != parsed.from_email
    return "inbound" if answers_ours else "outbound"


def _lead(parsed: ParsedMail, *, inbound: bool) -> tuple[str | None, str]:
    if parsed.bounce:
        return usable_address(parsed.bounce.recipient), ""
    if not inbound:
        return parsed.to_email, parsed.to_name
    if parsed.from_email and parsed.from_email.startswith(_DAEMONS):
        return None, ""
    return parsed.from_email, parsed.from_name


def _event(
    subject: Parent,
    witness: UUID,
    key: str,
    event_type: str,
    occurred_at: datetime,
    ingested_at: datetime,
    payload: dict[str, object],
) -> Event:
    """An event of `subject` that `witness` tells of; the same telling always gives the same id."""
    return Event(
        event_id=time_ordered_uuid(occurred_at, "event", subject.message_id.bytes, witness.bytes, key),
        message_id=subject.message_id,
        campaign_id=subject.campaign_id,
        campaign_sequence_step_id=subject.campaign_sequence_step_id,
        email_account_id=subject.email_account_id,
        lead_id=subject.lead_id,
        event_type=event_type,
        occurred_at=occurred_at,
        ingested_at=ingested_at,
        payload=payload,
    )
