"""A person is erased from every tier by one command; what others see of the tenant stays, and every check passes."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from platform_support import (  # noqa: F401 - fixtures
    SYNTHETIC,
    FinishedRun,
    Platform,
    finished_run_fixture,
    platform_after_a_run_fixture,
)

from penguinmails.content_store.errors import ContentGone
from penguinmails.content_store.reading import ContentReader
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import Stores, resolve

pytestmark = [pytest.mark.servers, pytest.mark.slow]

BUSIEST = """
    SELECT leads.tenant_id, leads.email
    FROM leads
    JOIN email_messages AS messages ON messages.tenant_id = leads.tenant_id AND messages.lead_id = leads.id
    GROUP BY leads.tenant_id, leads.id
    HAVING count(DISTINCT messages.direction) = 2
    ORDER BY count(*) DESC, leads.id
    LIMIT 1
"""


def exchanged(stores: Stores, tenant_id: UUID, address: str) -> dict[str, bytes]:
    """Returns what the tenant exchanged with an address, by storage key, read back whole."""
    bodies = MessageBodies(stores)
    ids = set(bodies.messages_of(tenant_id, address=address, after=None, limit=1_000))
    with ContentReader(stores, bodies=bodies) as reader:
        names = [name for page in bodies.storage_keys() for _, message_id, name in page if message_id in ids]
        return {name: reader.read(name) for name in names}


def test_a_person_is_erased_everywhere(platform_after_a_run: Platform, finished_run: FinishedRun) -> None:
    platform, before = platform_after_a_run, finished_run.state
    stores = resolve(Settings(home=platform.home))
    with psycopg.connect(stores.oltp_url.get_secret_value(), autocommit=True) as oltp:
        tenant_id, address = oltp.execute(BUSIEST).fetchone() or ()
        messages = exchanged(stores, tenant_id, address)
        person = ("erase", "--tenant", str(tenant_id), "--person", address.upper())

        plan = platform.ask(*person)["plan"]
        assert plan["content"]["stored"] == plan["rows"]["messages"] == len(messages) > 1
        assert platform.state() == before, "a plan changes nothing"

        (held, *_) = messages
        hold = platform.ask("content", "hold", "place", "--tenant", str(tenant_id), "--matter", "7", held)
        platform.call(*person, "--execute", "--json", exit_code=4)
        with ContentReader(stores, bodies=MessageBodies(stores)) as reader:
            assert reader.read(held) == messages[held]
        platform.call("content", "hold", "release", hold["hold_id"])

        assert platform.ask(*person, "--execute")["finished"]
        with ContentReader(stores, bodies=MessageBodies(stores)) as reader:
            for name in messages:
                with pytest.raises(ContentGone):
                    reader.read(name)
        for table in TABLES:
            told = oltp.execute(f"SELECT FROM {table} AS one WHERE one::text ILIKE %s LIMIT 1", [f"%{address}%"])  # type: ignore[arg-type]
            assert told.fetchone() is None, table

    again = platform.ask(*person, "--execute")
    assert again["erasure"]["content"] is None
    assert again["erasure"]["rows"] == {"messages": 0, "leads": 0, "set_aside": 0}
    repeated = platform.run(*SYNTHETIC)
    assert repeated["succeeded"], repeated["checks_failed"]
    assert repeated["reports"]["intake"]["loaded"] == 0, "an erased message is not taken in again"
    with psycopg.connect(stores.oltp_url.get_secret_value()) as oltp:
        assert oltp.execute("SELECT count(*) FROM leads WHERE email = %s", [address]).fetchone() == (0,)


def test_what_is_no_person_is_named(home: Path) -> None:
    tenant = "01900000-0000-7000-8000-000000000000"
    platform = Platform(home)
    assert "address: is none" in platform.call("erase", "--tenant", tenant, "--person", "nobody", exit_code=2)
    assert "--tenant" in platform.call("erase", "--tenant", "x", "--person", "a@b.example", exit_code=2)
