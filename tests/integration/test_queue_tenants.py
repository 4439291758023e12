"""Tenants take turns and keep to their rate limits."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest
from queue_support import FIXTURES, QUEUE, STEADY, handlers_of, rows

from penguinmails.queue.drain import drain
from penguinmails.queue.errors import JobRefused, UnknownQueue
from penguinmails.queue.limits import remove_limit, set_limit
from penguinmails.queue.probe import probe_tenants
from penguinmails.queue.producer import NewJob, enqueue_many
from penguinmails.queue.relay import Relay
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
WHO = {"actor": "tester", "reason": "a test"}


def test_a_tenant_with_many_jobs_does_not_hold_up_one_with_few(stores: Stores, connection: psycopg.Connection) -> None:
    large, small = uuid4(), uuid4()
    enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=large) for _ in range(2_000)))
    enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=small) for _ in range(20)))
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(20)))
    order: list[UUID | None] = []
    drain(stores, handlers_of(lambda _, context: order.append(context.job.tenant_id)), configuration=STEADY)
    assert len(order) == 2_040
    assert order[:60].count(small) == order[:60].count(None) == 20


def test_a_limited_tenant_is_given_its_burst_and_then_its_rate(stores: Stores, connection: psycopg.Connection) -> None:
    limited, free = uuid4(), uuid4()
    set_limit(stores, QUEUE, limited, jobs_per_second=0.001, burst=7, **WHO)
    for tenant_id in (limited, free):
        enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=tenant_id) for _ in range(50)))
    relay = Relay(stores, configuration=STEADY)
    while relay.step():
        pass
    handed_over = "SELECT tenant_id, count(*) FROM jobs WHERE status = 'migrated_to_redis' GROUP BY tenant_id"
    assert dict(rows(stores, handed_over)) == {limited: 7, free: 50}
    connection.execute("UPDATE queue_limits SET refilled = refilled - interval '3000 seconds'")
    while relay.step():
        pass
    assert dict(rows(stores, handed_over)) == {limited: 10, free: 50}
    assert remove_limit(stores, QUEUE, limited, **WHO)
    while relay.step():
        pass
    assert dict(rows(stores, handed_over)) == {limited: 50, free: 50}
    relay.close()


def test_a_bucket_in_use_by_another_relay_counts_as_empty(stores: Stores, connection: psycopg.Connection) -> None:
    limited = uuid4()
    set_limit(stores, QUEUE, limited, jobs_per_second=1, burst=10, **WHO)
    enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=limited) for _ in range(10)))
    relay = Relay(stores, configuration=STEADY)
    with connection.transaction():
        connection.execute("SELECT 1 FROM queue_limits FOR UPDATE")
        assert relay.step() == 0
    assert relay.step() == 10
    relay.close()


def test_wrong_limits_are_refused(stores: Stores) -> None:
    with pytest.raises(UnknownQueue):
        set_limit(stores, "no-such-queue", uuid4(), jobs_per_second=1, **WHO)
    with pytest.raises(JobRefused):
        set_limit(stores, QUEUE, uuid4(), jobs_per_second=0, **WHO)


def test_the_busiest_tenants_are_shown(stores: Stores, connection: psycopg.Connection) -> None:
    busy, calm = uuid4(), uuid4()
    enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=tenant) for tenant in (busy, busy, busy, calm, calm)))
    enqueue_many(connection, [NewJob(QUEUE, {})])
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    found = probe_tenants(stores)
    assert [(each.tenant_id, each.ready, each.handed_off) for each in found] == [
        (str(busy), 0, 3),
        (str(calm), 0, 2),
        (str(UUID(int=0)), 0, 1),
    ]
    assert len(probe_tenants(stores, at_most=1)) == 1
