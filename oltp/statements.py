"""The application's statements and how each must be served.

Belongs here: which statement exists, what its plan may cost, running one as it is declared. Does not belong here: SQL
(statements.sql), the database's answer (explaining.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import TupleRow

from penguinmails.oltp.connections import Role
from penguinmails.stack.sql import Queries

if TYPE_CHECKING:
    from penguinmails.oltp.tenancy import Session

QUERIES = Queries(Path(__file__).parent / "statements.sql")


@dataclass(frozen=True)
class Expectation:
    """What a plan must keep to at any size of the tables.

    Args:
        indexes: beginnings of the names of indexes it may use; at least one of them must be used. Indexes of a partition
            carry the partition's name, so these are compared with the index of the whole table.
        max_pages: pages of 8 KiB it may touch, in memory or not; writing counts the checks of foreign keys and, in a new
            session, reading the catalogue for them.
        max_discarded_rows: rows it may read and throw away.
        role: who asks: the application as one tenant, the platform, or staff over all tenants.
        steady_plan: it is read in the order of its index and planned once a connection. The planner has no samples of ids,
            so it would sort all of what it thinks is little; and to plan for a value, so that months are left out, costs more
            than looking into them. Not for lists that are short anyway: the setting costs 20 microseconds.
    """

    indexes: tuple[str, ...]
    max_pages: int
    max_discarded_rows: int = 0
    role: Role = Role.APP
    steady_plan: bool = False


def run(session: Session, name: str, values: dict[str, Any] | None = None) -> psycopg.Cursor[TupleRow]:
    """Runs a statement of statements.sql in a session, planned as it is declared; returns the cursor to fetch from."""
    return session.execute(QUERIES[name], values, steady_plan=EXPECTATIONS[name].steady_plan)


def _by(*indexes: str, pages: int, discarded: int = 0, role: Role = Role.APP, steady_plan: bool = False) -> Expectation:
    return Expectation(indexes, pages, discarded, role, steady_plan)


EXPECTATIONS = MappingProxyType(
    {
        # Behind a function: its pages count, its indexes do not show.
        "my_tenants": _by(pages=60),
        "create_tenant": _by(pages=300),
        "rejoin_tenant": _by(pages=150),
        "count_domains_of_company": _by("domains_company_index", "domains_one_primary_per_company", pages=10),
        "count_mailboxes_of_company": _by("email_accounts_", "domains_", pages=60),
        "count_members": _by("tenant_users_pkey", pages=10, discarded=5),
        "campaigns_by_status": _by("campaigns_list_index", pages=40),
        "campaigns_by_status_next": _by("campaigns_list_index", pages=40),
        "steps_of_campaign": _by("campaign_sequence_steps_tenant_id_campaign_id_step_order_key", pages=20),
        # Where nearly all have the status asked for, the list of all is as good.
        "leads_by_status": _by("leads_list_index", "leads_recent_index", pages=70, discarded=50),
        "leads_by_status_next": _by("leads_list_index", "leads_recent_index", pages=70, discarded=50),
        # A tenant of a few hundred leads is served by its list, which holds all columns: fewer pages, more thrown away.
        "leads_by_prefix": _by(
            "leads_email_prefix_index", "leads_tenant_id_email_key", "leads_list_index", pages=130, discarded=300
        ),
        "lead_by_email": _by("leads_tenant_id_email_key", "leads_email_prefix_index", pages=10),
        "templates_of_folder": _by("template_folders_", "templates_", pages=30),
        "note_template_use": _by("templates_", pages=40),
        "folder_counts": _by("template_folders_", "folders_", pages=40),
        "live_subscription": _by("subscriptions_one_live_per_tenant", "subscriptions_", pages=10, discarded=3),
        "set_subscription_status": _by("subscriptions_", pages=60, discarded=3),
        "last_payment": _by("payments_last_index", pages=10),
        "clear_primary_domain": _by("domains_one_primary_per_company", "domains_company_index", pages=60, discarded=3),
        "set_primary_domain": _by("domains_pkey", pages=60),
        "inbox": _by("email_messages_inbox_index", pages=120, steady_plan=True),
        "messages_of_lead": _by("email_messages_lead_index", pages=120),
        "message": _by("email_messages_pkey", pages=10, steady_plan=True),
        "events_of_message": _by("email_events_message_index", pages=60),
        "events_of_lead": _by("email_events_lead_index", pages=120),
        "events_of_campaign": _by("email_events_campaign_index", pages=120, steady_plan=True),
        "tenant_of_subscription": _by(pages=60, role=Role.PLATFORM),
        # The only one that grows: by an index page for some 300 tenants or users.
        "platform_totals": _by(
            *("tenants_live_index", "users_live_index", "users_email_unique"),
            *("subscriptions_one_live_per_tenant", "domains_verified_unique"),
            pages=200,
            role=Role.STAFF,
        ),
        "tenants_of_last_days": _by("tenants_live_index", pages=60, role=Role.STAFF),
        "users_of_last_days": _by("users_live_index", pages=60, role=Role.STAFF),
    }
)
"""Every statement of statements.sql; a test asserts that none was forgotten."""
