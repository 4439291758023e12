"""Seeded messages and events of one tenant.

Belongs here: what was sent, what came back, when and how late it was known. Does not belong here: everything else
(seeding_tenant.py). Rates: see the constants; lateness: most events are known within seconds, some after days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

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


@dataclass
class Traffic:
    """Rows of messages, events and bodies, ready for COPY."""

    messages: list[tuple[object, ...]] = field(default_factory=list)
    events: list[tuple[object, ...]] = field(default_factory=list)
    bodies: list[tuple[object, ...]] = field(default_factory=list)
    bounced_leads: set[UUID] = field(default_factory=set)
    unsubscribed_leads: set[UUID] = field(default_factory=set)


@dataclass(frozen=True)
class _Route:
    """Between whom, and for what, a message goes."""

    tenant_id: UUID
    company_id: UUID
    mailbox_id: UUID
    sender: Person
    lead_id: UUID
    lead: Person
    campaign: Campaign


def make_traffic(dice: Dice, tenant: Tenant, *, leads_per_campaign: int, with_bodies: bool) -> Traffic:
    """Sends every campaign to some of the leads; the same arguments give the same rows."""
    traffic = Traffic()
    for campaign in tenant.campaigns:
        boxes = [box for box in tenant.mailboxes if box[1] == campaign.company_id]
        chosen = dice.sample(tenant.leads, min(leads_per_campaign, len(tenant.leads)))
        for lead_id, lead in chosen:
            if lead_id in traffic.bounced_leads or lead_id in traffic.unsubscribed_leads:
                continue
            mailbox_id, company_id, sender = dice.choice(boxes)
            route = _Route(tenant.tenant_id, company_id, mailbox_id, sender, lead_id, lead, campaign)
            _sequence(dice, traffic, route, with_bodies=with_bodies)
    return traffic


def _sequence(dice: Dice, traffic: Traffic, route: _Route, *, with_bodies: bool) -> None:
    at = dice.working_time(route.campaign.starts + timedelta(days=dice.randrange(14)))
    previous: Letter | None = None
    for step in range(len(STEP_WAIT_HOURS)):
        at = at if step == 0 else dice.working_time(at + timedelta(hours=STEP_WAIT_HOURS[step]))
        message_id = dice.uuid_at(at)
        letter = Letter(
            f"<{message_id.hex}@{route.sender.domain}>",
            at,
            route.sender,
            route.lead,
            route.campaign.name,
            step,
            step % 2,
            previous,
        )
        happened = list(_happened(dice, at, first=step == 0))
        times: dict[str, datetime] = {}
        for event_type, occurred_at, payload in happened:
            times.setdefault(event_type, occurred_at)
            traffic.events.append(_event(dice, route, message_id, step, event_type, occurred_at, payload))
        bounce_type = next((str(payload["bounce_type"]) for kind, _, payload in happened if kind == "bounced"), None)
        status = "bounced" if bounce_type else "delivered"
        raw = outreach(letter) if with_bodies else None
        traffic.messages.append(_message(route, message_id, step, letter, status, times, bounce_type, raw))
        if raw is not None:
            traffic.bodies.append((route.tenant_id, message_id, raw, at))
        _answer(dice, traffic, route, message_id, step, letter, times, bounce_type, with_bodies=with_bodies)
        if bounce_type == "hard":
            traffic.bounced_leads.add(route.lead_id)
        if "unsubscribed" in times or "complained" in times:
            traffic.unsubscribed_leads.add(route.lead_id)
        if times.keys() & {"bounced", "replied", "unsubscribed", "complained"}:
            return
        previous = letter


def _happened(dice: Dice, sent_at: datetime, *, first: bool) -> Iterator[tuple[str, datetime, dict[str, object]]]:
    yield "sent", sent_at, {}
    if first and dice.happens(_BOUNCE_RATE):
        hard = dice.happens(_HARD_SHARE)
        payload: dict[str, object] = {"bounce_type": "hard" if hard else "soft", "code": "5.1.1" if hard else "4.2.2"}
        yield "bounced", sent_at + timedelta(seconds=dice.randint(2, 900)), payload
        return
    delivered_at = sent_at + timedelta(seconds=dice.randint(1, 90))
    yield "delivered", delivered_at, {}
    if dice.happens(_OPEN_RATE):
        opened_at = delivered_at + timedelta(seconds=int(dice.expovariate(1 / 14_400)))
        yield "opened", opened_at, {"user_agent": "ExampleMail/7.2"}
        again = opened_at
        while dice.happens(_OPENS_AGAIN):
            again += timedelta(seconds=int(dice.expovariate(1 / 20_000)))
            yield "opened", again, {"user_agent": "ImageProxy/1.0"}
        if dice.happens(_CLICK_RATE):
            yield (
                "clicked",
                opened_at + timedelta(seconds=dice.randint(4, 200)),
                {"link": "https://links.example.com/1"},
            )
        if dice.happens(_COMPLAINT_RATE):
            yield "complained", opened_at + timedelta(minutes=3), {}
        elif dice.happens(_UNSUBSCRIBE_RATE):
            yield "unsubscribed", opened_at + timedelta(minutes=2), {}
    if dice.happens(_REPLY_RATE):
        yield "replied", delivered_at + timedelta(minutes=dice.randint(12, 3600)), {}


def _answer(
    dice: Dice,
    traffic: Traffic,
    route: _Route,
    parent_id: UUID,
    step: int,
    question: Letter,
    times: dict[str, datetime],
    bounce_type: str | None,
    *,
    with_bodies: bool,
) -> None:
    """The inbound message behind a reply or a bounce."""
    at = times.get("replied") or times.get("bounced")
    if at is None:
        return
    message_id = dice.uuid_at(at)
    variant = int(bounce_type == "hard") if bounce_type else dice.randrange(4)
    letter = Letter(
        f"<{message_id.hex}@{route.lead.domain}>",
        at,
        route.lead,
        route.sender,
        route.campaign.name,
        step,
        variant,
        question,
    )
    raw = (bounce if bounce_type else reply)(letter) if with_bodies else None
    kind = "bounce" if bounce_type else "email"
    traffic.messages.append(
        (
            *(route.tenant_id, message_id, route.company_id, route.mailbox_id, route.campaign.campaign_id),
            *(route.campaign.step_ids[step], route.lead_id, parent_id, "inbound", kind, letter.message_id),
            f"mailer-daemon@{route.lead.domain}" if bounce_type else route.lead.email,
            route.sender.email,
            "Undelivered Mail Returned to Sender" if bounce_type else f"Re: {letter.subject}",
            "received",
            len(raw) if raw is not None else _TYPICAL_SIZE_BYTES // 2,
            *(None,) * 8,
            *(None, at, at),
        )
    )
    if raw is not None:
        traffic.bodies.append((route.tenant_id, message_id, raw, at))


def _message(
    route: _Route,
    message_id: UUID,
    step: int,
    letter: Letter,
    status: str,
    times: dict[str, datetime],
    bounce_type: str | None,
    raw: bytes | None,
) -> tuple[object, ...]:
    kinds = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
    return (
        *(route.tenant_id, message_id, route.company_id, route.mailbox_id, route.campaign.campaign_id),
        *(route.campaign.step_ids[step], route.lead_id, None, "outbound", "email", letter.message_id),
        *(route.sender.email, route.lead.email, f"Re: {letter.subject}" if step else letter.subject, status),
        len(raw) if raw is not None else _TYPICAL_SIZE_BYTES,
        *(times.get(kind) for kind in kinds),
        *(bounce_type, letter.at, max(times.values())),
    )


def _event(
    dice: Dice,
    route: _Route,
    message_id: UUID,
    step: int,
    event_type: str,
    occurred_at: datetime,
    payload: dict[str, object],
) -> tuple[object, ...]:
    late = timedelta(seconds=dice.randint(3_600, 216_000) if dice.happens(_LATE_RATE) else dice.randint(0, 20))
    return (
        *(
            route.tenant_id,
            dice.uuid_at(occurred_at),
            message_id,
            route.campaign.campaign_id,
            route.campaign.step_ids[step],
        ),
        *(route.mailbox_id, route.lead_id, event_type, occurred_at, occurred_at + late),
        Jsonb(payload) if payload else None,
    )
