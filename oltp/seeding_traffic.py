"""Seeded messages and events of one tenant.

Belongs here: what was sent, what came back, when and how late it was known. Does not belong here: everything else
(seeding_tenant.py). Rates: see the constants; lateness: most events are known within seconds, some after days.

These rows come by the million, so they are made in the form in which COPY takes them; times are whole seconds since 1970 until
they are encoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from penguinmails.oltp.copying import (
    NULL,
    encoded_bigint,
    encoded_field,
    encoded_jsonb,
    encoded_row,
    encoded_text,
    encoded_time,
)
from penguinmails.oltp.seeding_dice import Dice
from penguinmails.oltp.seeding_tenant import STEP_WAIT_HOURS, Campaign, Tenant
from penguinmails.oltp.synthetic_text import Letter, Person, bounce, outreach, reply

MESSAGE_COLUMNS = (
    "tenant_id", "id", "company_id", "email_account_id", "campaign_id", "campaign_sequence_step_id", "lead_id",
    "parent_message_id", "direction", "message_type", "message_id_header", "from_email", "to_email", "subject", "status",
    "raw_size_bytes", "sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained",
    "bounce_type", "created", "updated",
)  # fmt: skip
EVENT_COLUMNS = (
    "tenant_id", "id", "message_id", "campaign_id", "campaign_sequence_step_id", "email_account_id", "lead_id",
    "event_type", "occurred_at", "ingested_at", "payload",
)  # fmt: skip
BODY_COLUMNS = ("tenant_id", "message_id", "raw_message", "created")

_BOUNCE_RATE = 0.03
_HARD_SHARE = 0.7
_OPEN_RATE = 0.48
_OPENS_AGAIN = 0.84
"""Chance that an opened message is opened once more (by its reader, or by programs that load its images)."""
_CLICK_RATE = 0.15
_REPLY_RATE = 0.045
_UNSUBSCRIBE_RATE = 0.01
_COMPLAINT_RATE = 0.002
_LATE_RATE = 0.05
_TYPICAL_SIZE_BYTES = 2_600
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_STRETCH_SECONDS = 10 * _DAY

_BY_READER = encoded_jsonb({"user_agent": "ExampleMail/7.2"})
_BY_PROGRAM = encoded_jsonb({"user_agent": "ImageProxy/1.0"})
_LINK = encoded_jsonb({"link": "https://links.example.com/1"})
_BOUNCES = {
    "hard": encoded_jsonb({"bounce_type": "hard", "code": "5.1.1"}),
    "soft": encoded_jsonb({"bounce_type": "soft", "code": "4.2.2"}),
}
_FIRST_TIMES = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
_EVENT_TYPES = {event_type: encoded_text(event_type) for event_type in _FIRST_TIMES}
_ENDS_SEQUENCE = {"bounced", "replied", "unsubscribed", "complained"}
_OUTBOUND = encoded_text("outbound") + encoded_text("email")
_INBOUND = {kind: encoded_text("inbound") + encoded_text(kind) for kind in ("email", "bounce")}


class Rows:
    """Encoded rows by time: COPY writes a month faster when its rows come one after the other."""

    def __init__(self) -> None:
        self._stretches: defaultdict[int, list[bytes]] = defaultdict(list)

    def add(self, at: int, row: bytes) -> None:
        self._stretches[at // _STRETCH_SECONDS].append(row)

    def __len__(self) -> int:
        return sum(map(len, self._stretches.values()))

    @classmethod
    def in_order_of_time(cls, several: Sequence[Rows]) -> list[bytes]:
        """All rows of several, roughly in order of time."""
        stretches = sorted({stretch for rows in several for stretch in rows._stretches})
        return [row for stretch in stretches for rows in several for row in rows._stretches.get(stretch, ())]


@dataclass
class Traffic:
    """Rows of messages, events and bodies, encoded for COPY."""

    messages: Rows = field(default_factory=Rows)
    events: Rows = field(default_factory=Rows)
    bodies: Rows = field(default_factory=Rows)
    bounced_leads: set[UUID] = field(default_factory=set)
    unsubscribed_leads: set[UUID] = field(default_factory=set)


@dataclass(frozen=True)
class _Route:
    """Between whom, and for what, messages go.

    Args:
        tenant_id: encoded.
        message_keys: for each step, company, mailbox, campaign, step and lead, encoded once for all of their rows.
        event_keys: for each step, campaign, step, mailbox and lead.
    """

    sender: Person
    lead: Person
    topic: str
    starts: int
    tenant_id: bytes
    message_keys: tuple[bytes, ...]
    event_keys: tuple[bytes, ...]


def make_traffic(dice: Dice, tenant: Tenant, *, leads_per_campaign: int, with_bodies: bool) -> Traffic:
    """Sends every campaign to some of the leads; the same arguments give the same rows."""
    traffic = Traffic()
    for campaign in tenant.campaigns:
        boxes = [box for box in tenant.mailboxes if box[1] == campaign.company_id]
        chosen = dice.sample(tenant.leads, min(leads_per_campaign, len(tenant.leads)))
        for lead_id, lead in chosen:
            if lead_id in traffic.bounced_leads or lead_id in traffic.unsubscribed_leads:
                continue
            route = _route(tenant, campaign, dice.choice(boxes), lead_id, lead)
            ended_by = _send_sequence(dice, traffic, route, with_bodies=with_bodies)
            if "hard" in ended_by:
                traffic.bounced_leads.add(lead_id)
            if "unsubscribed" in ended_by or "complained" in ended_by:
                traffic.unsubscribed_leads.add(lead_id)
    return traffic


def _route(
    tenant: Tenant, campaign: Campaign, mailbox: tuple[UUID, UUID, Person], lead_id: UUID, lead: Person
) -> _Route:
    mailbox_id, company_id, sender = mailbox
    company, box, of, to = (encoded_field(key.bytes) for key in (company_id, mailbox_id, campaign.campaign_id, lead_id))
    steps = [encoded_field(step_id.bytes) for step_id in campaign.step_ids]
    return _Route(
        sender=sender,
        lead=lead,
        topic=campaign.name,
        starts=int(campaign.starts.timestamp()),
        tenant_id=encoded_field(tenant.tenant_id.bytes),
        message_keys=tuple(company + box + of + step + to for step in steps),
        event_keys=tuple(of + step + box + to for step in steps),
    )


def _send_sequence(dice: Dice, traffic: Traffic, route: _Route, *, with_bodies: bool) -> set[str]:
    """Sends step after step; returns what ended the sequence early: kinds of events, "hard" for such a bounce."""
    at = dice.working_seconds(route.starts + dice.below(14) * _DAY)
    letter: Letter | None = None
    for step, wait_hours in enumerate(STEP_WAIT_HOURS):
        if step:
            at = dice.working_seconds(at + wait_hours * _HOUR)
        message_id = dice.id_at(at)
        bounce_type = _bounce_type(dice) if step == 0 else ""
        keys = encoded_field(message_id) + route.event_keys[step]
        first_times: dict[str, int] = {}
        for event_type, occurred_at, payload in _happened(dice, at, bounce_type):
            first_times.setdefault(event_type, occurred_at)
            traffic.events.add(occurred_at, _event(dice, route.tenant_id, keys, event_type, occurred_at, payload))
        letter = _outgoing(route, step, message_id, at, letter) if with_bodies else None
        raw = outreach(letter) if letter else None
        traffic.messages.add(at, _message(route, step, message_id, at, first_times, bounce_type, raw))
        if raw is not None:
            traffic.bodies.add(at, _body(route, message_id, raw, at))
        answered_at = first_times.get("replied") or first_times.get("bounced")
        if answered_at:
            _answer(dice, traffic, route, step, message_id, answered_at, bounce_type, letter)
        ended_by = first_times.keys() & _ENDS_SEQUENCE
        if ended_by:
            return ended_by | {bounce_type}
    return set()


def _bounce_type(dice: Dice) -> str:
    """The kind of bounce that the first message to a lead meets; empty, as for most, when it arrives."""
    if not dice.happens(_BOUNCE_RATE):
        return ""
    return "hard" if dice.happens(_HARD_SHARE) else "soft"


def _happened(dice: Dice, sent_at: int, bounce_type: str) -> Iterator[tuple[str, int, bytes]]:
    """Kind, time and payload of each event of a message."""
    yield "sent", sent_at, NULL
    if bounce_type:
        yield "bounced", sent_at + 2 + dice.below(15 * _MINUTE), _BOUNCES[bounce_type]
        return
    delivered_at = sent_at + 1 + dice.below(90)
    yield "delivered", delivered_at, NULL
    if dice.happens(_OPEN_RATE):
        opened_at = delivered_at + int(dice.expovariate(1 / (4 * _HOUR)))
        yield "opened", opened_at, _BY_READER
        again_at = opened_at
        while dice.happens(_OPENS_AGAIN):
            again_at += int(dice.expovariate(1 / 20_000))
            yield "opened", again_at, _BY_PROGRAM
        if dice.happens(_CLICK_RATE):
            yield "clicked", opened_at + 4 + dice.below(200), _LINK
        if dice.happens(_COMPLAINT_RATE):
            yield "complained", opened_at + 3 * _MINUTE, NULL
        elif dice.happens(_UNSUBSCRIBE_RATE):
            yield "unsubscribed", opened_at + 2 * _MINUTE, NULL
    if dice.happens(_REPLY_RATE):
        yield "replied", delivered_at + (12 + dice.below(60 * 60)) * _MINUTE, NULL


def _event(dice: Dice, tenant_id: bytes, keys: bytes, event_type: str, occurred_at: int, payload: bytes) -> bytes:
    late_seconds = _HOUR + dice.below(59 * _HOUR) if dice.happens(_LATE_RATE) else dice.below(21)
    return encoded_row(
        len(EVENT_COLUMNS),
        tenant_id,
        encoded_field(dice.id_at(occurred_at)),
        keys,
        _EVENT_TYPES[event_type],
        encoded_time(occurred_at),
        encoded_time(occurred_at + late_seconds),
        payload,
    )


def _message(
    route: _Route,
    step: int,
    message_id: bytes,
    at: int,
    first_times: dict[str, int],
    bounce_type: str,
    raw: bytes | None,
) -> bytes:
    return encoded_row(
        len(MESSAGE_COLUMNS),
        route.tenant_id,
        encoded_field(message_id),
        route.message_keys[step],
        NULL,
        _OUTBOUND,
        encoded_text(f"<{message_id.hex()}@{route.sender.domain}>"),
        encoded_text(route.sender.email),
        encoded_text(route.lead.email),
        encoded_text(f"Re: {route.topic}" if step else route.topic),
        encoded_text("bounced" if bounce_type else "delivered"),
        encoded_bigint(_TYPICAL_SIZE_BYTES if raw is None else len(raw)),
        *(encoded_time(first_times[kind]) if kind in first_times else NULL for kind in _FIRST_TIMES),
        encoded_text(bounce_type) if bounce_type else NULL,
        encoded_time(at),
        encoded_time(max(first_times.values())),
    )


def _answer(
    dice: Dice,
    traffic: Traffic,
    route: _Route,
    step: int,
    parent_id: bytes,
    at: int,
    bounce_type: str,
    question: Letter | None,
) -> None:
    """The inbound message behind a reply or a bounce."""
    message_id = dice.id_at(at)
    header = f"<{message_id.hex()}@{route.lead.domain}>"
    variant = int(bounce_type == "hard") if bounce_type else dice.below(4)
    raw = None
    if question is not None:
        sent_at = datetime.fromtimestamp(at, UTC)
        letter = Letter(header, sent_at, route.lead, route.sender, route.topic, step, variant, question)
        raw = (bounce if bounce_type else reply)(letter)
        traffic.bodies.add(at, _body(route, message_id, raw, at))
    row = encoded_row(
        len(MESSAGE_COLUMNS),
        route.tenant_id,
        encoded_field(message_id),
        route.message_keys[step],
        encoded_field(parent_id),
        _INBOUND["bounce" if bounce_type else "email"],
        encoded_text(header),
        encoded_text(f"mailer-daemon@{route.lead.domain}" if bounce_type else route.lead.email),
        encoded_text(route.sender.email),
        encoded_text("Undelivered Mail Returned to Sender" if bounce_type else f"Re: {route.topic}"),
        encoded_text("received"),
        encoded_bigint(_TYPICAL_SIZE_BYTES // 2 if raw is None else len(raw)),
        *(NULL for _ in _FIRST_TIMES),
        NULL,
        encoded_time(at),
        encoded_time(at),
    )
    traffic.messages.add(at, row)


def _body(route: _Route, message_id: bytes, raw: bytes, at: int) -> bytes:
    fields = (route.tenant_id, encoded_field(message_id), encoded_field(raw), encoded_time(at))
    return encoded_row(len(BODY_COLUMNS), *fields)


def _outgoing(route: _Route, step: int, message_id: bytes, at: int, previous: Letter | None) -> Letter:
    header = f"<{message_id.hex()}@{route.sender.domain}>"
    sent_at = datetime.fromtimestamp(at, UTC)
    return Letter(header, sent_at, route.sender, route.lead, route.topic, step, step % 2, previous)
