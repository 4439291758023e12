"""The examples that docs/marts.md works by hand, on real servers."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from olap_support import (  # noqa: F401 - fixtures
    World,
    assert_marts_are_exact,
    insert,
    named,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap.errors import ReconciliationFailed
from penguinmails.olap.marts import MARTS
from penguinmails.olap.metrics import METRICS
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts, snapshots
from penguinmails.olap.report import make_report
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.stores import Stores

MARTS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "marts.md"


def answer(stores: Stores, question: str, *parameters: object) -> list[tuple[Any, ...]]:
    roll_up(stores)
    publish(stores)
    with open_marts(stores) as connection:
        return connection.execute(question, [str(parameter) for parameter in parameters]).fetchall()


def test_health_score(stores: Stores, world: World) -> None:
    """50 sent, 1 bounced (2 %), 49 delivered, none complained, 8 opened (16.3 %): 30 + 30 + 16.3 = 76."""
    with world.connect() as connection:
        for number in range(50):
            world.message(str(number), connection=connection)
            world.event(str(number), "sent", connection=connection)
            world.event(str(number), "bounced" if number == 0 else "delivered", 1, connection=connection)
            if 1 <= number <= 8:
                world.event(str(number), "opened", 50, connection=connection)
    found = answer(
        stores, "SELECT health_score, current_volume FROM mailbox_analytics WHERE mailbox_id = ?", named("t1.m1")
    )
    assert found == [(76, 50)]
    assert_marts_are_exact(stores, world)


def test_health_forgets_what_is_older_than_thirty_days(stores: Stores, world: World) -> None:
    for name, event_type, hours in [("old", "bounced", 0), ("new", "delivered", 30 * 24)]:
        world.message(name)
        world.event(name, "sent", hours)
        world.event(name, event_type, hours)
    assert answer(stores, "SELECT health_score FROM mailbox_analytics WHERE mailbox_id = ?", named("t1.m1")) == [(80,)]


def test_warm_up_progress(stores: Stores, world: World) -> None:
    """Warm-up mail on 7 days: 7 / 28 = 25 %; it counts for warm-up and billing and not for the mailbox's mail."""
    for day in range(7):
        world.message(f"w{day}", campaign=None, lead=None, message_type="warmup")
        world.event(f"w{day}", "sent", 24 * day)
    found = answer(
        stores,
        "SELECT progress_percentage, warmup_status, warm.sent, box.sent, warmups_active, emails_sent"
        " FROM warmup_analytics AS warm JOIN mailbox_analytics AS box USING (tenant_id, mailbox_id)"
        " JOIN billing_analytics AS bill ON bill.id = box.billing_id",
    )
    assert found == [(25, "warming", 7, 0, 1, 0)]
    assert_marts_are_exact(stores, world)


def test_billing_periods_are_whole_days(stores: Stores, world: World) -> None:
    """A period from 2 October 08:00 to 5 October 08:00 counts 2, 3 and 4 October."""
    with world.connect() as connection:
        insert(connection, "plans", id=named("plan"), name="plan", slug="plan", price_monthly=2900)
        insert(
            connection,
            "subscriptions",
            tenant_id=named("t1"),
            id=named("t1.subscription"),
            plan_id=named("plan"),
            status="active",
            current_period_start="2026-10-02 08:00+00",
            current_period_end="2026-10-05 08:00+00",
        )
    for day in range(6):  # 1 October 12:00 and the five days after
        world.message(f"d{day}", lead=f"l{day % 2 + 1}", mailbox=f"m{day % 2 + 1}")
        world.event(f"d{day}", "sent", 24 * day)
    found = answer(
        stores,
        "SELECT emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used, period_start, subscription_id"
        " FROM billing_analytics WHERE tenant_id = ?",
        named("t1"),
    )
    assert found == [(3, 2, 1, 1, 2, datetime(2026, 10, 2, 8), named("t1.subscription"))]  # noqa: DTZ001 - UTC without zone
    assert_marts_are_exact(stores, world)


def infrastructure(world: World) -> None:
    """A server at 20.00 with two addresses at 4.99: one for a domain of t1 and one of t2, the other for two domains of t1."""
    with world.connect() as connection:
        insert(connection, "plans", id=named("plan"), name="plan", slug="plan", price_monthly=5000)
        insert(connection, "vps_instances", id=named("server"), status="active", approximate_cost=20)
        for number in (1, 2, 3):  # the third is not used: it takes no share
            insert(
                connection,
                "smtp_ip_addresses",
                id=named(f"ip{number}"),
                vps_instance_id=named("server"),
                ip_address=f"192.0.2.{number}",
            )
        for name in ("second", "third"):
            domain = {"tenant_id": named("t1"), "company_id": named("t1.company"), "domain": f"{name}.example"}
            insert(connection, "domains", id=named(f"t1.{name}"), **domain)
        for tenant, domain_name, address in [
            ("t1", "domain", 1),
            ("t2", "domain", 1),
            ("t1", "second", 2),
            ("t1", "third", 2),
        ]:
            insert(
                connection,
                "domain_ip_assignments",
                tenant_id=named(tenant),
                domain_id=named(f"{tenant}.{domain_name}"),
                smtp_ip_address_id=named(f"ip{address}"),
                status="active",
            )
        insert(
            connection,
            "subscriptions",
            tenant_id=named("t1"),
            id=named("t1.subscription"),
            plan_id=named("plan"),
            status="active",
        )


def test_cost_allocation_and_margin(stores: Stores, world: World) -> None:
    infrastructure(world)
    for number in range(4):
        world.message(str(number))
        world.event(str(number), "sent")
        world.event(str(number), "delivered", 1)
    found = answer(
        stores,
        "SELECT vps_cost, ip_cost, infrastructure_cost FROM business_cost_allocation ORDER BY infrastructure_cost DESC",
    )
    assert found == [
        (Decimal("15.0000"), Decimal("7.4850"), Decimal("22.4850")),
        (Decimal("5.0000"), Decimal("2.4950"), Decimal("7.4950")),
    ]
    found = answer(
        stores,
        "SELECT plan_price, margin, cost_per_delivered_email, health_status FROM executive_business_summary"
        " ORDER BY plan_price DESC",
    )
    assert found == [
        (Decimal(50), Decimal("27.5150"), Decimal("5.621250"), "excellent"),
        (Decimal(0), Decimal("-7.4950"), None, "critical"),
    ]
    assert_marts_are_exact(stores, world)


def test_audit_events_reach_the_log_once(stores: Stores, world: World) -> None:
    with world.connect() as connection:
        insert(
            connection,
            "admin_audit_events",
            tenant_id=named("t1"),
            id=named("audit"),
            action="role_changed",
            category="role",
            old_values='{"role": "member"}',
            ip_address="192.0.2.9",
        )
    assert answer(stores, "SELECT action, old_values, ip_address FROM admin_audit_log") == [
        ("role_changed", '{"role": "member"}', "192.0.2.9")
    ]
    assert_marts_are_exact(stores, world)


def test_the_published_file_explains_every_rate(stores: Stores, world: World) -> None:
    found = answer(stores, "SELECT metric, formula, numerator, denominator, unit, grains, marts FROM metrics")
    by_name = {name: rest for name, *rest in found}
    assert by_name["open_rate"] == [
        "100 x opened_tracked / delivered",
        "opened_tracked",
        "delivered",
        "percent",
        ["tenant x day of sending", "tenant x campaign", "tenant x step", "tenant x mailbox"],
        ["tenant_rates", "campaign_rates", "sequence_step_rates", "mailbox_rates"],
    ]
    numbers = {(mart.name, column.name) for mart in MARTS for column in mart.columns if column.unit}
    assert {(mart, name) for name, *_, marts in found for mart in marts} == numbers
    assert all(formula for formula, *_ in by_name.values())
    documented = dict(re.findall(r"^\| (\w+_rate) \| (.+) \|$", MARTS_PAGE.read_text(), re.MULTILINE))
    assert documented == {metric.name: metric.formula for metric in METRICS}


def test_retention_in_the_report(stores: Stores, world: World) -> None:
    """A and B sent first in October; in November only A sent: 2 tenants, +0 100 %, +1 50 %."""
    for name, tenant, hours in [("a", "t1", 0), ("b", "t2", 24), ("c", "t1", 31 * 24)]:
        world.message(name, tenant=tenant)
        world.event(name, "sent", hours, tenant=tenant)
    roll_up(stores)
    publish(stores)
    document = ElementTree.fromstring(make_report(stores).html.removeprefix("<!doctype html>\n"))
    rows = [["".join(cell.itertext()) for cell in row] for row in document.findall(".//section[@id='retention']//tr")]
    assert rows == [["first sent in", "tenants", "+0", "+1"], ["2026-10", "2", "100 %", "50 %"]]


def test_a_mart_that_breaks_its_declaration_is_not_published(
    stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    import penguinmails.olap.mart_file as module

    world.message("a")
    world.message("b", campaign="c2")
    roll_up(stores)
    publish(stores)
    broken = [dataclasses.replace(mart, key=("tenant_id",)) for mart in module.MARTS]
    monkeypatch.setattr(module, "MARTS", broken)
    with pytest.raises(ReconciliationFailed, match="keys more than once"):
        publish(stores)
    assert len(snapshots(stores.marts_folder)) == 1
