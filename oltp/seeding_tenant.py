"""Seeded rows of one tenant: people, workspaces, domains with their records, mailboxes, leads, templates, campaigns, bills.

Belongs here: everything but messages and events (seeding_traffic.py). All names are invented, all domains reserved
(RFC 2606).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from psycopg.types.json import Jsonb

from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.mail_items import TableRows
from penguinmails.oltp.seeding_dice import YEAR_END, YEAR_START, Dice
from penguinmails.oltp.seeding_platform import address_id
from penguinmails.oltp.synthetic_text import Person, people

Row = dict[str, object]
_ANIMALS = ("Albatross", "Auk", "Fulmar", "Gannet", "Grebe", "Kittiwake", "Loon", "Petrel", "Puffin", "Skua", "Tern")
_KINDS = ("Outreach", "Growth", "Partners", "Studio", "Agency", "Works", "Collective")
_TOPICS = ("introductions", "webinar invitation", "product news", "winter offer", "case study", "customer survey")
_FOLDERS = ("First contact", "Follow-up", "Events")
_TAGS = ("cold", "warm", "event", "pricing")
STEP_WAIT_HOURS = (0, 72, 96)
"""Hours a lead waits before each message of a sequence."""


@dataclass(frozen=True)
class Campaign:
    """A campaign and the steps that send."""

    campaign_id: UUID
    company_id: UUID
    name: str
    starts: datetime
    step_ids: tuple[UUID, ...]


@dataclass
class Tenant:
    """What traffic needs to know about a tenant."""

    tenant_id: UUID
    name: str
    site: str
    """Reserved domain that its own domains are below."""
    mailboxes: list[tuple[UUID, UUID, Person]] = field(default_factory=list)
    """Id, company and person of each mailbox."""
    leads: list[tuple[UUID, Person]] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)
    groups: list[TableRows] = field(default_factory=list)
    """Rows in order of foreign keys."""


def make_tenant(
    dice: Dice, seed: int, number: int, plans: list[UUID], *, leads: int, campaigns: int, addresses: int
) -> Tenant:
    """Makes the rows of the nth tenant; the same arguments give the same rows."""
    name = f"{_ANIMALS[number % len(_ANIMALS)]} {_KINDS[number // len(_ANIMALS) % len(_KINDS)]} {number + 1}"
    joined = YEAR_START - timedelta(days=dice.randint(20, 50))
    tenant = Tenant(tenant_id_of(seed, number), name, f"tenant{seed}-{number + 1}.example")
    times = {"created": joined, "updated": joined}
    own: Row = {"tenant_id": tenant.tenant_id, **times}
    tenant.groups.append(TableRows("tenants", [{"id": tenant.tenant_id, "name": name} | times]))
    users = _add_people(dice, tenant, times)
    companies = [dice.uuid_at(joined) for _ in range(1 + dice.happens(0.3))]
    rows = [
        own | {"id": company, "name": f"{name} {place}", "workspace_name": f"{name.lower().replace(' ', '-')}-{place}"}
        for place, company in enumerate(companies, 1)
    ]
    tenant.groups.append(TableRows("companies", rows))
    _add_domains(dice, tenant, number, companies, joined, addresses)
    _add_leads(dice, tenant, seed, leads, joined)
    templates = _add_templates(dice, tenant, times)
    _add_campaigns(dice, tenant, companies, campaigns, templates)
    _add_bills(dice, tenant, users[0], plans, joined)
    return tenant


def tenant_id_of(seed: int, number: int) -> UUID:
    """Id of the nth tenant, known without making it."""
    return time_ordered_uuid(YEAR_START, "seeded tenant", str(seed), str(number))


def _add_people(dice: Dice, tenant: Tenant, times: dict[str, datetime]) -> list[UUID]:
    roles = (["owner"], ["admin"], ["member"], ["readonly"])[: dice.randint(1, 4)]
    ids = [dice.uuid_at(times["created"]) for _ in roles]
    users: list[Row] = []
    for user_id, person in zip(ids, people(0, f"{tenant.site} team", len(ids)), strict=True):
        given_name, _, family_name = person.name.partition(" ")
        users.append(
            times
            | {
                "id": user_id,
                "name": person.name,
                "given_name": given_name,
                "family_name": family_name,
                "email": f"{person.email.partition('@')[0]}@{tenant.site}",
                "picture": f"https://images.example.com/people/{user_id.hex}.png",
                "email_verified": times["created"],
            }
        )
    tenant.groups.append(TableRows("users", users))
    members = [
        {"tenant_id": tenant.tenant_id, "user_id": user["id"], "email": user["email"], "roles": role} | times
        for user, role in zip(users, roles, strict=True)
    ]
    tenant.groups.append(TableRows("tenant_users", members))
    preferences = [{"id": dice.uuid_at(times["created"]), "user_id": user_id} | times for user_id in ids]
    tenant.groups.append(TableRows("user_preferences", preferences))
    return ids


def _add_domains(
    dice: Dice, tenant: Tenant, number: int, companies: list[UUID], joined: datetime, addresses: int
) -> None:
    domains: list[Row] = []
    mailboxes: list[Row] = []
    assignments: list[Row] = []
    own: Row = {"tenant_id": tenant.tenant_id, "created": joined, "updated": joined}
    for place, company in enumerate(companies):
        for primary in (True, False):
            domain_id, name = dice.uuid_at(joined), f"mail{place + 1}{'' if primary else '-two'}.{tenant.site}"
            domains.append(
                own
                | {
                    "id": domain_id,
                    "company_id": company,
                    "domain": name,
                    "verification_status": "verified" if primary else "pending",
                    "verified": joined + timedelta(hours=2) if primary else None,
                    "is_primary": primary,
                    "dns_records": Jsonb({"records": _dns_records(name, verified=primary)}),
                    "dns_ttl_observed": 3600 if primary else None,
                }
            )
            assignments.append(
                own
                | {
                    "id": dice.uuid_at(joined),
                    "domain_id": domain_id,
                    "smtp_ip_address_id": address_id(dice.randrange(addresses)),
                    "status": "active" if primary else "warming",
                    "warmup_state": "warmed" if primary else "warming",
                    "assigned": joined,
                }
            )
            for person in people(number, f"{tenant.name} {name}", 2):
                mailbox = dice.uuid_at(joined)
                address = f"{person.email.partition('@')[0]}@{name}"
                mailboxes.append(
                    own
                    | {
                        "id": mailbox,
                        "domain_id": domain_id,
                        "email": address,
                        "status": "active" if primary else "warming",
                        "vault_key_path": f"vault://mailboxes/{tenant.tenant_id}/{mailbox}",
                        "last_warmed": YEAR_END if not primary else None,
                        "imap_settings": Jsonb({"host": f"imap.{name}", "port": 993}),
                        "smtp_settings": Jsonb({"host": f"smtp.{name}", "port": 465}),
                    }
                )
                if primary:
                    tenant.mailboxes.append((mailbox, company, Person(person.name, address, tenant.name)))
    tenant.groups.append(TableRows("domains", domains))
    tenant.groups.append(TableRows("domain_ip_assignments", assignments))
    tenant.groups.append(TableRows("email_accounts", mailboxes))


def _dns_records(domain: str, *, verified: bool) -> list[Row]:
    state = "verified" if verified else "pending"
    wanted: tuple[tuple[str, str, str, Row], ...] = (
        ("SPF", domain, "v=spf1 include:spf.penguinmails.example -all", {}),
        (
            "DKIM",
            f"pm1._domainkey.{domain}",
            "v=DKIM1; k=rsa; p=reserved",
            {"selector": "pm1", "secret_ref": "vault://dkim/pm1"},
        ),
        ("DMARC", f"_dmarc.{domain}", f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{domain}", {"policy": "quarantine"}),
        ("MX", domain, "mx.penguinmails.example", {"priority": 10}),
    )
    return [
        {
            "record_type": record_type,
            "name": name,
            "value": value,
            "ttl": 3600,
            "managed_by": "platform",
            "needs_deployment": not verified,
            "verification_status": state,
            "source": "platform",
            **more,
        }
        for record_type, name, value, more in wanted
    ]


def _add_leads(dice: Dice, tenant: Tenant, seed: int, count: int, joined: datetime) -> None:
    rows = []
    for person in people(seed, tenant.name, count):
        lead, added = dice.uuid_at(joined), dice.time_between(joined, YEAR_START)
        tenant.leads.append((lead, person))
        rows.append(
            {
                "tenant_id": tenant.tenant_id,
                "id": lead,
                "email": person.email,
                "name": person.name,
                "company": person.company,
                "created": added,
                "updated": added,
            }
        )
    tenant.groups.append(TableRows("leads", rows))


def _add_templates(dice: Dice, tenant: Tenant, times: dict[str, datetime]) -> list[UUID]:
    own = {"tenant_id": tenant.tenant_id} | times
    templates = [dice.uuid_at(times["created"]) for _ in _FOLDERS]
    rows = [
        own
        | {
            "id": template,
            "name": folder,
            "subject": "{{topic}}",
            "content": "Hello {{name}}, …",
            "usage_count": 10 * place,
        }
        for place, (template, folder) in enumerate(zip(templates, _FOLDERS, strict=True))
    ]
    numbers = range(1, len(_FOLDERS) + 1)
    tenant.groups += [
        TableRows("templates", rows),
        TableRows("folders", [own | {"id": number, "name": _FOLDERS[number - 1]} for number in numbers]),
        TableRows(
            "template_folders",
            [own | {"id": number, "template_id": templates[number - 1], "folder_id": number} for number in numbers],
        ),
        TableRows(
            "tags", [own | {"id": place, "value": tag, "name": tag.title()} for place, tag in enumerate(_TAGS, 1)]
        ),
        TableRows(
            "template_tags",
            [own | {"id": number, "template_id": templates[number - 1], "tag_id": number} for number in numbers],
        ),
        TableRows(
            "email_templates",
            [
                own
                | {
                    "id": dice.uuid_at(times["created"]),
                    "name": "welcome",
                    "subject": "Welcome",
                    "body": "Hello <%= it.name %>",
                }
            ],
        ),
        TableRows(
            "template_dictionaries",
            [
                {
                    "tenant_id": tenant.tenant_id,
                    "id": dice.uuid_at(times["created"]),
                    "key": "signature",
                    "value": Jsonb({"text": f"Kind regards, {tenant.name}"}),
                    "created": times["created"],
                }
            ],
        ),
    ]
    return templates


def _add_campaigns(dice: Dice, tenant: Tenant, companies: list[UUID], count: int, templates: list[UUID]) -> None:
    campaigns, steps = [], []
    for number in range(count):
        starts = dice.working_time(dice.time_between(YEAR_START, YEAR_END - timedelta(days=35)))
        company = companies[number % len(companies)]
        campaign = Campaign(
            dice.uuid_at(starts),
            company,
            f"{_TOPICS[number % len(_TOPICS)].capitalize()} {number + 1}",
            starts,
            tuple(dice.uuid_at(starts) for _ in STEP_WAIT_HOURS),
        )
        tenant.campaigns.append(campaign)
        done = starts + timedelta(days=30)
        common = {"tenant_id": tenant.tenant_id, "created": starts, "updated": done}
        campaigns.append(
            common
            | {
                "id": campaign.campaign_id,
                "company_id": company,
                "name": campaign.name,
                "status": "completed" if number % 3 else "sending",
                "scheduled": starts,
                "completed": done if number % 3 else None,
            }
        )
        steps += [common | row for row in _steps(dice, campaign, templates)]
    tenant.groups.append(TableRows("campaigns", campaigns))
    tenant.groups.append(TableRows("campaign_sequence_steps", steps))


def _steps(dice: Dice, campaign: Campaign, templates: list[UUID]) -> Iterator[Row]:
    """Messages with waits between them; the last one goes to those only who did not answer."""
    order = 0
    last = len(campaign.step_ids) - 1
    for place, step_id in enumerate(campaign.step_ids):
        between: list[Row] = []
        if place:
            between.append({"step_type": "wait", "wait_duration_hours": STEP_WAIT_HOURS[place], "condition_type": None})
        if place == last:
            between.append({"step_type": "condition", "wait_duration_hours": None, "condition_type": "not_replied"})
        for row in between:
            order += 1
            yield row | {
                "id": dice.uuid_at(campaign.starts),
                "campaign_id": campaign.campaign_id,
                "step_order": order,
                "template_id": None,
            }
        order += 1
        yield {
            "id": step_id,
            "campaign_id": campaign.campaign_id,
            "step_order": order,
            "step_type": "email",
            "template_id": templates[place % len(templates)],
            "wait_duration_hours": None,
            "condition_type": None,
        }


def _add_bills(dice: Dice, tenant: Tenant, payer: UUID, plans: list[UUID], joined: datetime) -> None:
    own = {"tenant_id": tenant.tenant_id}
    subscription = dice.uuid_at(joined)
    plan = dice.randrange(len(plans))
    amount = Decimal((1_900, 4_900, 14_900, 49_900)[plan % 4]) / 100
    start = YEAR_END - timedelta(days=30)
    tenant.groups += [
        TableRows(
            "subscriptions",
            [
                own
                | {
                    "id": subscription,
                    "plan_id": plans[plan],
                    "status": dice.choice(("active", "active", "active", "trialing", "past_due", "canceled")),
                    "current_period_start": start,
                    "current_period_end": YEAR_END,
                    "billing_contact_user_id": payer,
                    "stripe_subscription_id": f"sub_example_{subscription.hex}",
                    "created": joined,
                    "updated": start,
                }
            ],
        ),
        TableRows(
            "subscription_addons",
            [
                own
                | {
                    "id": f"si_example_{subscription.hex}",
                    "subscription_id": subscription,
                    "addon_type": "dedicated_ip",
                    "quantity": dice.randint(1, 4),
                    "price_monthly": Decimal("4.99"),
                    "created": joined,
                    "updated": joined,
                }
            ],
        ),
        TableRows("payments", [own | _payment(dice, subscription, payer, amount, month) for month in range(10)]),
        TableRows("tenant_config", [own | {"ui_timezone": "UTC", "created": joined, "updated": joined}]),
        TableRows("tenant_policies", [own | {"two_factor_required": plan > 1, "created": joined, "updated": joined}]),
    ]


def _payment(dice: Dice, subscription: UUID, payer: UUID, amount: Decimal, month: int) -> Row:
    paid = YEAR_START + timedelta(days=30 * month)
    failed = dice.happens(0.04)
    return {
        "id": dice.uuid_at(paid),
        "subscription_id": subscription,
        "initiated_by_user_id": payer if month == 0 else None,
        "amount": amount,
        "currency": "USD",
        "status": "failed" if failed else "succeeded",
        "processed": None if failed else paid,
        "stripe_payment_intent_id": f"pi_example_{subscription.hex}_{month}",
        "billing_period_start": paid,
        "billing_period_end": paid + timedelta(days=30),
        "created": paid,
    }
