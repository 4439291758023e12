"""The application's statements are served by indexes under row level security: plans and pages, not times."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oltp_support import rows, shared_stores
from psycopg import sql

from penguinmails.oltp import explaining
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.explaining import explain_all
from penguinmails.oltp.identifiers import time_ordered_uuid
from penguinmails.oltp.seeding import seed
from penguinmails.oltp.seeding_batch import QUERIES as SEEDING_QUERIES
from penguinmails.oltp.statements import EXPECTATIONS, QUERIES
from penguinmails.oltp.tenancy import tenant_session
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores"]

Rows = Callable[..., list[tuple[object, ...]]]
MANY_SMALL_TENANTS = """
    WITH added AS (
        INSERT INTO tenants (name) SELECT 'Small ' || number FROM generate_series(1, 400) AS number RETURNING id
    ), workspaces AS (
        INSERT INTO companies (tenant_id, name) SELECT id, 'Small' FROM added RETURNING tenant_id, id
    ), sites AS (
        INSERT INTO domains (tenant_id, company_id, domain)
        SELECT tenant_id, id, number || '.' || id || '.example' FROM workspaces, generate_series(1, 3) AS number
    ), shelves AS (
        INSERT INTO templates (tenant_id, name) SELECT id, 'T' || number FROM added, generate_series(1, 3) AS number
    ), campaigning AS (
        INSERT INTO campaigns (tenant_id, company_id, name)
        SELECT tenant_id, id, 'C' || number FROM workspaces, generate_series(1, 10) AS number
    ), paying AS (
        INSERT INTO subscriptions (tenant_id, plan_id, status) SELECT added.id, plans.id, 'active'
        FROM added CROSS JOIN (SELECT id FROM plans LIMIT 1) AS plans RETURNING tenant_id, id
    ), paid AS (
        INSERT INTO payments (tenant_id, subscription_id, amount)
        SELECT tenant_id, id, 9 FROM paying, generate_series(1, 10) AS number
    )
    INSERT INTO leads (tenant_id, email)
    SELECT id, number || '@small.example' FROM added, generate_series(1, 100) AS number
"""
"""The planner does not know how many tenants there are, so it must be right for many as well."""


@pytest.fixture(scope="module")
def seeded(shared_stores: Stores) -> Stores:
    with pytest.raises(InputError, match="no tenant with campaigns"):
        explain_all(shared_stores)
    settled: list[str] = []
    seed(shared_stores, scale="medium", settling=settled.append)
    assert {"leads", "email_events_2026_04"} <= set(settled)
    with connect(shared_stores.oltp_url, Role.OWNER) as connection:
        # No table waits for autovacuum: an index alone can answer from the beginning.
        assert connection.execute(SEEDING_QUERIES["unsettled_tables"]).fetchall() == []
    with connect(shared_stores.oltp_url, Role.LOADER) as connection:
        connection.execute(MANY_SMALL_TENANTS)
    with connect(shared_stores.oltp_url, Role.OWNER) as connection:
        connection.execute("ANALYZE")
    return shared_stores


def test_every_statement_has_its_expectation() -> None:
    assert set(EXPECTATIONS) == set(QUERIES)


def test_every_statement_keeps_to_its_expectation(seeded: Stores) -> None:
    found = explain_all(seeded)
    assert {one.statement: one.problems for one in found if one.problems} == {}


def test_nothing_stays_written(seeded: Stores) -> None:
    with connect(seeded.oltp_url, Role.LOADER) as connection:
        used = "SELECT sum(usage_count), count(*) FROM templates, tenant_users"
        before = connection.execute(used).fetchall()
        explain_all(seeded)
        assert connection.execute(used).fetchall() == before


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM leads WHERE lower(email) = %(email)s",
        "SELECT id FROM leads WHERE email LIKE %(prefix)s || '%%'",
        "SELECT id FROM email_messages WHERE subject = %(email)s",
    ],
)
def test_a_statement_that_is_served_badly_is_told(
    seeded: Stores, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "QUERIES", {"bad": statement})
    monkeypatch.setattr(explaining, "EXPECTATIONS", {"bad": EXPECTATIONS["lead_by_email"]})
    [told] = explain_all(seeded)
    assert told.problems


def test_the_time_in_an_id_prunes_old_months(seeded: Stores) -> None:
    with psycopg.connect(seeded.oltp_app_url.get_secret_value(), autocommit=True) as connection:
        late = time_ordered_uuid(datetime(2026, 10, 20, tzinfo=UTC), "any")
        values = {"message_id": late}
        with connect(seeded.oltp_url, Role.LOADER) as loader:
            [(tenant_id,)] = loader.execute("SELECT id FROM tenants LIMIT 1").fetchall()
        with tenant_session(connection, tenant_id) as session:
            lines = session.execute(sql.SQL("EXPLAIN ") + sql.SQL(QUERIES["events_of_message"]), values).fetchall()
    plan = "\n".join(str(line[0]) for line in lines)
    assert "email_events_2026_10" in plan
    assert "email_events_2026_09" not in plan
    assert "email_events_history" not in plan


@given(st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)), st.text(max_size=5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_python_and_sql_agree_on_the_time_in_an_id(rows: Rows, at: datetime, name: str) -> None:
    made = time_ordered_uuid(at, name)
    [(time, bound)] = rows("SELECT app.uuidv7_time(%s), app.uuidv7_lower_bound(%s) <= %s", made, at, made)
    assert isinstance(time, datetime)
    assert abs((time - at).total_seconds()) < 0.001
    assert bound
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_stripe_finds_its_tenant_as_the_platform_only(seeded: Stores) -> None:
    with connect(seeded.oltp_url, Role.PLATFORM) as platform, connect(seeded.oltp_app_url) as app:
        ask = "SELECT app.tenant_of_subscription(%s)"
        assert platform.execute(ask, ["sub_unknown"]).fetchall() == [(None,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(ask, ["sub_unknown"])
        with connect(seeded.oltp_url, Role.LOADER) as loader:
            [(stripe, tenant)] = loader.execute(
                "SELECT stripe_subscription_id, tenant_id FROM subscriptions LIMIT 1"
            ).fetchall()
        assert platform.execute(ask, [stripe]).fetchall() == [(tenant,)]
