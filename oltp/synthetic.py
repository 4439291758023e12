"""Synthetic mail: campaigns with sequences, replies, bounces, automatic replies and what recipients did, from a seed.

Belongs here: who writes to whom, when, and what happens then. Does not belong here: the text of messages
(synthetic_text.py), loading (intake.py).

The same seed and number always give the same bytes, ids and times. All names are invented, all domains reserved
(RFC 2606). Times lie in a constant window. Rates are those cold outreach commonly sees: a few per cent bounce, under half
are opened, a few per cent answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.mail_items import MessagePlan, PlannedEvent, SourceItem, TableRows, Workspace
from penguinmails.oltp.synthetic_text import (
    Letter,
    Person,
    automatic_reply,
    bounce,
    outreach,
    people,
    reply,
    seeded_dice,
)

WINDOW_START = datetime(2026, 9, 1, tzinfo=UTC)
WINDOW_END = datetime(2026, 11, 1, tzinfo=UTC)
WORKSPACES = (
    Workspace("Emperor Outreach"),
    Workspace("Adelie Growth Studio"),
    Workspace("Gentoo Partners"),
)
CAMPAIGNS = ("Autumn introductions", "Platform migration offer")
STEPS = 3
_SENDERS = (("ada", "Ada Frost"), ("bo", "Bo Larsen"), ("cleo", "Cleo Winter"), ("dag", "Dag Holm"))
_MESSAGES_PER_LEAD = 2.8
"""What one lead brings on average with the rates below: steps sent until something ends the sequence, and answers."""
_STEP_WAIT = (timedelta(0), timedelta(hours=72), timedelta(hours=96))

_BOUNCE_RATE = 0.035
_HARD_SHARE = 0.7
_OPEN_RATE = 0.44
_CLICK_RATE = 0.14
_REPLY_RATE = 0.05
_AUTOMATIC_RATE = 0.03
_UNSUBSCRIBE_RATE = 0.008
_COMPLAINT_RATE = 0.001
_LATE_RATE = 0.05
_USER_AGENTS = ("ExampleMail/7.2 (desktop)", "ExampleMail/7.2 (phone)", "WebReader/3.1", "ImageProxy/1.0")


@dataclass(frozen=True)
class SyntheticSource:
    """Synthetic mail as a source; see synthetic_source()."""

    seed: int
    messages: int

    @property
    def name(self) -> str:
        """Names the seed and size, so that another set is another source."""
        return f"synthetic-{self.seed}-{self.messages}"

    @property
    def setup(self) -> tuple[TableRows, ...]:
        """Tenants, workspaces, templates, campaigns and steps."""
        return (
            TableRows("tenants", [{"id": w.tenant_id, "name": w.tenant_name, **_FIXED} for w in WORKSPACES]),
            TableRows(
                "companies",
                [
                    {
                        "tenant_id": w.tenant_id,
                        "id": w.company_id,
                        "name": w.tenant_name,
                        "workspace_name": w.tenant_name,
                        **_FIXED,
                    }
                    for w in WORKSPACES
                ],
            ),
            TableRows("templates", [row for w in WORKSPACES for row in _template_rows(w)]),
            TableRows("campaigns", [row for w in WORKSPACES for row in _campaign_rows(w)]),
            TableRows("campaign_sequence_steps", [row for w in WORKSPACES for row in _step_rows(w)]),
        )

    def items(self) -> Iterator[SourceItem]:
        """Gives out the messages of one workspace after the other, each in order of time."""
        leads_in_all = max(round(self.messages / _MESSAGES_PER_LEAD), len(WORKSPACES))
        for number, workspace in enumerate(WORKSPACES):
            leads = leads_in_all // len(WORKSPACES) + (number < leads_in_all % len(WORKSPACES))
            yield from _workspace_items(self.seed, workspace, leads)


def synthetic_source(seed: int = 1, messages: int = 2_000) -> SyntheticSource:
    """Returns roughly `messages` synthetic messages of three tenants; the same arguments give the same mail."""
    return SyntheticSource(seed, messages)


_FIXED = {"created": WINDOW_START - timedelta(days=7), "updated": WINDOW_START - timedelta(days=7)}


@dataclass(frozen=True)
class _Planned:
    """A message that is to be written: everything but its bytes."""

    letter: Letter
    kind: str
    campaign: int
    step: int
    events: tuple[PlannedEvent, ...]


def _workspace_items(seed: int, workspace: Workspace, leads: int) -> Iterator[SourceItem]:
    planned: list[_Planned] = []
    for number, lead in enumerate(people(seed, workspace.tenant_name, leads)):
        planned += _sequence(seeded_dice(seed, workspace.tenant_name, str(number)), workspace, number, lead)
    planned.sort(key=lambda message: (message.letter.at, message.letter.message_id))
    writers = {"outreach": outreach, "reply": reply, "automatic": automatic_reply, "bounce": bounce}
    for message in planned:
        outbound = message.kind == "outreach"
        plan = MessagePlan(
            direction="outbound" if outbound else "inbound",
            at=message.letter.at,
            campaign_id=campaign_id(workspace, message.campaign),
            campaign_sequence_step_id=step_id(workspace, message.campaign, message.step),
            events=message.events,
        )
        name = f"{_slug(workspace)}/{message.letter.message_id.strip('<>')}.eml"
        yield SourceItem(name, writers[message.kind](message.letter), workspace=workspace, plan=plan)


def _sequence(dice: random.Random, workspace: Workspace, number: int, lead: Person) -> Iterator[_Planned]:
    """What is sent to one lead and what comes back, until an answer, a bounce or the end of the sequence."""
    campaign = number % len(CAMPAIGNS)
    variant = dice.randrange(2)
    address, sender_name = _SENDERS[number % len(_SENDERS)]
    sender = Person(sender_name, f"{address}@{sender_domain(workspace)}", workspace.tenant_name)
    latest_start = WINDOW_END - WINDOW_START - sum(_STEP_WAIT, timedelta(days=8))
    at = _working_hour(dice, WINDOW_START + dice.random() * latest_start)
    previous: Letter | None = None
    for step in range(STEPS):
        at = at if step == 0 else _working_hour(dice, at + _STEP_WAIT[step])
        letter = Letter(
            message_id=f"<{workspace.company_id.hex[-6:]}.{number}.{step}@{sender_domain(workspace)}>",
            at=at,
            sender=sender,
            recipient=lead,
            subject=CAMPAIGNS[campaign],
            step=step,
            variant=variant,
            answers=previous,
        )
        fate = dice.random()
        if step == 0 and fate < _BOUNCE_RATE:
            yield _Planned(letter, "outreach", campaign, step, ())
            hard = dice.random() < _HARD_SHARE
            back = _back(letter, at + timedelta(seconds=dice.randint(2, 900)), "bounce", int(hard))
            yield _Planned(back, "bounce", campaign, step, ())
            return
        events, ends = _engagement(dice, at)
        yield _Planned(letter, "outreach", campaign, step, tuple(events))
        if dice.random() < _AUTOMATIC_RATE:
            back = _back(letter, at + timedelta(seconds=dice.randint(5, 120)), "automatic", variant)
            yield _Planned(back, "automatic", campaign, step, ())
        if not ends and dice.random() < _REPLY_RATE:
            back = _back(letter, at + timedelta(minutes=dice.randint(12, 60 * 60)), "reply", dice.randrange(4))
            yield _Planned(back, "reply", campaign, step, ())
            return
        if ends:
            return
        previous = letter


def _engagement(dice: random.Random, sent_at: datetime) -> tuple[list[PlannedEvent], bool]:
    """What the recipient does, and whether it ends the sequence."""
    delivered_at = sent_at + timedelta(seconds=dice.randint(1, 90))
    events = [_event(dice, "delivered", delivered_at)]
    if dice.random() >= _OPEN_RATE:
        return events, False
    opened_at = delivered_at + timedelta(minutes=dice.expovariate(1 / 240))
    agent: dict[str, object] = {"user_agent": dice.choice(_USER_AGENTS)}
    times = [opened_at + timedelta(hours=7 * again) for again in range(1 + (dice.random() < 0.25))]
    events += [_event(dice, "opened", time, agent) for time in times]
    if dice.random() < _CLICK_RATE:
        link: dict[str, object] = {"link": f"https://links.example.com/{dice.randrange(4)}", **agent}
        events.append(_event(dice, "clicked", opened_at + timedelta(seconds=dice.randint(4, 200)), link))
    if dice.random() < _COMPLAINT_RATE / _OPEN_RATE:
        events.append(_event(dice, "complained", opened_at + timedelta(minutes=3)))
        return events, True
    if dice.random() < _UNSUBSCRIBE_RATE / _OPEN_RATE:
        events.append(_event(dice, "unsubscribed", opened_at + timedelta(minutes=2)))
        return events, True
    return events, False


def _event(
    dice: random.Random, event_type: str, occurred_at: datetime, payload: dict[str, object] | None = None
) -> PlannedEvent:
    """Most events are known within seconds, some (a queue that stood still) hours or days later."""
    late = dice.random() < _LATE_RATE
    delay = timedelta(hours=dice.uniform(1, 60)) if late else timedelta(seconds=dice.uniform(0.2, 20))
    return PlannedEvent(event_type, occurred_at, occurred_at + delay, payload or {})


def _back(letter: Letter, at: datetime, kind: str, variant: int) -> Letter:
    return Letter(
        message_id=f"<{kind}.{letter.message_id[1:].partition('@')[0]}@{letter.recipient.domain}>",
        at=at,
        sender=letter.recipient,
        recipient=letter.sender,
        subject=letter.subject,
        step=letter.step,
        variant=variant,
        answers=letter,
    )


def _working_hour(dice: random.Random, at: datetime) -> datetime:
    """Moves a time into a working day, between 8 and 17 h, whole seconds."""
    day = at.date() + timedelta(days=max(0, 7 - at.isoweekday()) % 7 + 1 if at.isoweekday() > 5 else 0)
    return datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(seconds=dice.randrange(9 * 3600))


def sender_domain(workspace: Workspace) -> str:
    """Returns the reserved domain a workspace sends from."""
    return f"{_slug(workspace)}.example"


def campaign_id(workspace: Workspace, campaign: int) -> UUID:
    return time_ordered_uuid(WINDOW_START, "campaign", workspace.tenant_id.bytes, CAMPAIGNS[campaign])


def step_id(workspace: Workspace, campaign: int, step: int) -> UUID:
    return time_ordered_uuid(WINDOW_START, "step", campaign_id(workspace, campaign).bytes, str(step))


def _template_id(workspace: Workspace, campaign: int, step: int) -> UUID:
    return time_ordered_uuid(WINDOW_START, "template", campaign_id(workspace, campaign).bytes, str(step))


def _slug(workspace: Workspace) -> str:
    return workspace.tenant_name.lower().replace(" ", "-")


def _template_rows(workspace: Workspace) -> Iterator[dict[str, object]]:
    for campaign, name in enumerate(CAMPAIGNS):
        for step in range(STEPS):
            yield {
                "tenant_id": workspace.tenant_id,
                "id": _template_id(workspace, campaign, step),
                "name": f"{name}, message {step + 1}",
                "subject": name,
                "content": "Hello {{name}}, …",
                **_FIXED,
            }


def _campaign_rows(workspace: Workspace) -> Iterator[dict[str, object]]:
    for campaign, name in enumerate(CAMPAIGNS):
        yield {
            "tenant_id": workspace.tenant_id,
            "id": campaign_id(workspace, campaign),
            "company_id": workspace.company_id,
            "name": name,
            "status": "sending",
            "scheduled": WINDOW_START,
            **_FIXED,
        }


def _step_rows(workspace: Workspace) -> Iterator[dict[str, object]]:
    """Each message is a step; a wait stands between two."""
    for campaign in range(len(CAMPAIGNS)):
        common = {"tenant_id": workspace.tenant_id, "campaign_id": campaign_id(workspace, campaign), **_FIXED}
        for step in range(STEPS):
            if step:
                wait_id = time_ordered_uuid(WINDOW_START, "wait", step_id(workspace, campaign, step).bytes)
                hours = int(_STEP_WAIT[step].total_seconds() // 3600)
                yield common | {
                    "id": wait_id,
                    "step_order": 2 * step,
                    "step_type": "wait",
                    "template_id": None,
                    "wait_duration_hours": hours,
                }
            yield common | {
                "id": step_id(workspace, campaign, step),
                "step_order": 2 * step + 1,
                "step_type": "email",
                "template_id": _template_id(workspace, campaign, step),
                "wait_duration_hours": None,
            }
