"""One batch of mail in memory: what becomes of each item, then everything to write.

Belongs here: the order of steps within the transaction of a batch. Does not belong here: rules (intake_mapping.py),
statements (intake_writing.py), transactions (intake.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from penguinmails.oltp import intake_writing as writing
from penguinmails.oltp.connections import Connection
from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.intake_mapping import (
    Answer,
    Event,
    Message,
    addresses_of,
    answer_events,
    find_parent,
    message_id_of,
    new_message,
    own_events,
)
from penguinmails.oltp.intake_writing import LedgerEntry
from penguinmails.oltp.mail_items import SourceItem, Workspace
from penguinmails.oltp.mail_parsing import NotMail, ParsedMail, parse_mail


class Collision(Exception):
    """The application added the same mailbox or lead at the same moment: the batch is made anew."""


@dataclass
class Batch:
    """One batch in memory."""

    workspace: Workspace
    now: datetime
    counts: Counter[str] = field(default_factory=Counter)
    ledger: list[LedgerEntry] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    new_mailboxes: dict[str, UUID] = field(default_factory=dict)
    new_leads: dict[str, tuple[UUID, str]] = field(default_factory=dict)

    def read(self, connection: Connection, source_name: str, items: Sequence[SourceItem]) -> None:
        """Sorts the items into what is there, what is set aside and what becomes a message."""
        tenant_id = self.workspace.tenant_id
        seen = writing.known_items(connection, tenant_id, source_name, items)
        fresh: list[SourceItem] = []
        for item in items:
            if (item.name, item.sha256) in seen:
                self.counts["already_there"] += 1
            else:
                seen.add((item.name, item.sha256))
                fresh.append(item)
        if not fresh:
            return
        self._make_messages(connection, self._parse(fresh, writing.known_digests(connection, tenant_id, fresh)))

    def write(self, connection: Connection, source_name: str) -> None:
        """Writes everything of the batch."""
        tenant_id, now = self.workspace.tenant_id, self.now
        if not self.ledger:
            return
        if self.new_mailboxes and not writing.add_mailboxes(connection, self.workspace, self.new_mailboxes):
            raise Collision
        if self.new_leads and not writing.add_leads(connection, tenant_id, self.new_leads):
            raise Collision
        own = {message.message_id: message for message in self.messages}
        for answer in self.answers:
            if answer.message_id in own:
                _note(own[answer.message_id], answer)
        writing.copy_messages(connection, self.workspace, self.messages, now)
        writing.copy_events(connection, tenant_id, self.events)
        writing.copy_ledger(connection, tenant_id, source_name, self.ledger, now)
        earlier = [answer for answer in self.answers if answer.message_id not in own]
        writing.note_answers(connection, tenant_id, earlier, now)
        writing.note_lead_statuses(connection, tenant_id, self._lead_statuses(), now)
        writing.link_waiting_answers(connection, tenant_id, self.messages, now)
        self.counts.update(entry.outcome for entry in self.ledger)
        self.counts["events"] += len(self.events)

    def _parse(self, items: Sequence[SourceItem], loaded: dict[bytes, UUID]) -> list[tuple[SourceItem, ParsedMail]]:
        parsed: list[tuple[SourceItem, ParsedMail]] = []
        for item in items:
            if item.problem or item.raw is None:
                self.ledger.append(LedgerEntry(item, "set_aside", item.problem))
            elif item.sha256 in loaded:
                self.ledger.append(LedgerEntry(item, "duplicate", message_id=loaded[item.sha256]))
            else:
                now = max(self.now, item.plan.at) if item.plan else self.now
                try:
                    mail = parse_mail(item.raw, now=now)
                except NotMail as error:
                    self.ledger.append(LedgerEntry(item, "set_aside", error.reason))
                    continue
                loaded[item.sha256] = message_id_of(self.workspace, item, mail)
                parsed.append((item, mail))
        return parsed

    def _make_messages(self, connection: Connection, mails: list[tuple[SourceItem, ParsedMail]]) -> None:
        tenant_id = self.workspace.tenant_id
        addresses = addresses_of(mail for _, mail in mails)
        mailboxes = writing.known_addresses(connection, "known_mailboxes", tenant_id, addresses)
        leads = writing.known_addresses(connection, "known_leads", tenant_id, addresses)
        headers = [header for _, mail in mails for header in mail.thread_headers]
        parents = writing.known_parents(connection, tenant_id, headers)
        for item, mail in mails:
            message = new_message(self.workspace, item, mail, find_parent(mail, parents.get))
            self._give_mailbox(message, mailboxes)
            self._give_lead(message, leads)
            self.events += own_events(message, self.now)
            events, answers = answer_events(message, self.now)
            self.events += events
            self.answers += answers
            self.messages.append(message)
            self.ledger.append(
                LedgerEntry(item, "loaded", message_id=message.message_id, thread_headers=mail.thread_headers)
            )
            if mail.message_id_header:
                parents.setdefault(mail.message_id_header, message.as_parent())

    def _give_mailbox(self, message: Message, mailboxes: dict[str, UUID]) -> None:
        if message.mailbox is None:
            return
        if message.mailbox not in mailboxes:
            new = time_ordered_uuid(message.parsed.at, "mailbox", self.workspace.tenant_id.bytes, message.mailbox)
            mailboxes[message.mailbox] = self.new_mailboxes[message.mailbox] = new
        message.mailbox_id = mailboxes[message.mailbox]

    def _give_lead(self, message: Message, leads: dict[str, UUID]) -> None:
        if message.lead is None:
            return
        if message.lead not in leads:
            new = time_ordered_uuid(message.parsed.at, "lead", self.workspace.tenant_id.bytes, message.lead)
            leads[message.lead] = new
            self.new_leads[message.lead] = new, message.lead_name
        message.lead_id = leads[message.lead]

    def _lead_statuses(self) -> dict[UUID, str]:
        """What hard bounces, complaints and unsubscriptions say about leads; the first one counts."""
        statuses: dict[UUID, str] = {}
        for answer in self.answers:
            if answer.bounce_type == "hard" and answer.lead_id:
                statuses.setdefault(answer.lead_id, "bounced")
        for event in self.events:
            if event.event_type in ("unsubscribed", "complained") and event.lead_id:
                statuses.setdefault(event.lead_id, event.event_type)
        return statuses


def _note(message: Message, answer: Answer) -> None:
    """Sets first answer or bounce on a message of this batch; what is set stays."""
    message.first_times.setdefault("bounced" if answer.bounce_type else "replied", answer.at)
    if answer.bounce_type:
        message.bounce_type = message.bounce_type or answer.bounce_type
        message.status = "bounced"
