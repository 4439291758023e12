"""Seeded rows of the platform itself: plans, servers, addresses, staff, settings, flags.

Belongs here: rows that belong to no tenant. Does not belong here: tenants (seeding_tenant.py). Addresses are from the ranges
that are reserved for documentation (RFC 5737, RFC 3849).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from psycopg.types.json import Jsonb

from penguinmails.oltp.mail_items import TableRows
from penguinmails.oltp.seeding_dice import YEAR_START, Dice

_PLANS = (
    # name, slug, users, domains, campaigns, mailboxes, messages a month, leads, cents a month
    ("Egg", "egg", 1, 1, 3, 3, 5_000, 1_000, 1_900),
    ("Chick", "chick", 3, 3, 10, 10, 25_000, 10_000, 4_900),
    ("Colony", "colony", 10, 15, 50, 60, 150_000, 100_000, 14_900),
    ("Continent", "continent", None, None, None, None, None, None, 49_900),
)
_PERMISSIONS = ("tenants.read", "tenants.close", "billing.read", "billing.refund", "servers.manage", "flags.change")
_STAFF_ROLES = {"support": (1, 3), "billing": (1, 3, 4), "operations": (1, 5, 6), "administrator": (1, 2, 3, 4, 5, 6)}
_FLAGS = {"conditional-steps": 100, "inbox-rotation": 60, "reply-classification": 25, "shared-templates": 0}
_SETTINGS = {
    "stripe_account_id": ("acct_reserved_example", "billing", True),
    "default_daily_limit": (40, "sending", False),
    "support_address": ("support@penguinmails.example", "contact", False),
}


def plan_ids(dice: Dice) -> list[UUID]:
    """Ids of the plans, cheapest first."""
    return [dice.uuid_at(YEAR_START - timedelta(days=90 - number)) for number in range(len(_PLANS))]


def platform_rows(dice: Dice, plans: list[UUID], addresses: int) -> Iterator[TableRows]:
    """Everything the platform has before its first tenant, in order of foreign keys."""
    long_ago = YEAR_START - timedelta(days=60)
    times = {"created": long_ago, "updated": long_ago}
    yield TableRows("plans", [_plan(plan_id, number) | times for number, plan_id in enumerate(plans)])
    servers = [dice.uuid_at(long_ago) for _ in range(max(addresses // 8, 1))]
    yield TableRows("vps_instances", [_server(dice, server, number) | times for number, server in enumerate(servers)])
    yield TableRows("smtp_ip_addresses", [_address(dice, servers, number) | times for number in range(addresses)])
    users = [dice.uuid_at(long_ago) for _ in _STAFF_ROLES]
    named = zip(users, _STAFF_ROLES, strict=True)
    yield TableRows("users", [_staff_user(user, role) | times for user, role in named])
    roles = list(enumerate(_STAFF_ROLES, 1))
    yield TableRows("staff_roles", [{"id": number, "name": role, "created": long_ago} for number, role in roles])
    permissions = [
        {"id": number, "name": name, "category": name.partition(".")[0], "created": long_ago}
        for number, name in enumerate(_PERMISSIONS, 1)
    ]
    yield TableRows("permissions", permissions)
    granted = [
        {"role_id": number, "permission_id": permission, "created": long_ago}
        for number, role in roles
        for permission in _STAFF_ROLES[role]
    ]
    yield TableRows("staff_role_permissions", granted)
    members = [{"user_id": user, "role_id": number} | times for number, user in enumerate(users, 1)]
    yield TableRows("staff_members", members)
    settings = [
        {"key": key, "value": Jsonb(value), "category": category, "is_sensitive": sensitive, "updated": long_ago}
        for key, (value, category, sensitive) in _SETTINGS.items()
    ]
    yield TableRows("system_config", settings)
    flags = [
        {
            "id": dice.uuid_at(long_ago),
            "key": key,
            "is_enabled": share > 0,
            "rollout_percentage": share,
            "updated": long_ago,
        }
        for key, share in _FLAGS.items()
    ]
    yield TableRows("feature_flags", flags)


def address_id(number: int) -> UUID:
    """Id of the nth sending address, known without asking."""
    return Dice(f"address {number}").uuid_at(YEAR_START - timedelta(days=60))


def _plan(plan_id: UUID, number: int) -> dict[str, object]:
    name, slug, users, domains, campaigns, mailboxes, messages, leads, cents = _PLANS[number]
    return {
        "id": plan_id,
        "name": name,
        "slug": slug,
        "max_users": users,
        "max_domains": domains,
        "max_campaigns_per_month": campaigns,
        "max_email_accounts": mailboxes,
        "max_emails_per_month": messages,
        "max_contacts": leads,
        "api_access": number > 0,
        "priority_support": number > 1,
        "advanced_analytics": number > 1,
        "white_label": number > 2,
        "price_monthly": cents,
        "price_yearly": cents * 10,
    }


def _server(dice: Dice, server: UUID, number: int) -> dict[str, object]:
    return {
        "id": server,
        "hostwinds_instance_id": f"example-{number:05d}",
        "ip_address": IPv4Address("198.51.100.0") + number % 256,
        "region": dice.choice(("Amsterdam", "Dallas", "Seattle")),
        "status": "active",
        "monthly_cost": Decimal("21.58"),
        "approximate_cost": Decimal("22.00"),
        "hostwinds_billing_day": dice.randint(1, 28),
    }


def _address(dice: Dice, servers: list[UUID], number: int) -> dict[str, object]:
    address = IPv4Address("203.0.113.0") + number if number < 256 else IPv6Address("2001:db8::") + number
    return {
        "id": address_id(number),
        "vps_instance_id": servers[number // 8 % len(servers)],
        "ip_address": address,
        "status": dice.choice(("assigned", "warming", "warmed", "warmed")),
        "reputation_state": dice.choice(("good", "good", "good", "fair", "poor")),
        "approximate_cost": Decimal("4.99"),
        "assigned_count": 1,
        "provider_blacklist_status": Jsonb({}),
    }


def _staff_user(user: UUID, role: str) -> dict[str, object]:
    return {"id": user, "name": f"Staff of {role}", "email": f"{role}@penguinmails.example"}
