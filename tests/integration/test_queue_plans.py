"""The protocol's statements touch the rows of their batch and no others, whatever the statistics say.

Counted are rows read from `jobs`, not time: a plan that has tipped over reads every row in flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from queue_support import FIXTURES, QUEUE

from penguinmails.queue.connections import Connection, open_protocol_connection
from penguinmails.queue.handlers import PROTOCOL
from penguinmails.queue.leases import QUERIES as LEASES
from penguinmails.queue.reconciler import QUERIES as REAPER
from penguinmails.stack.stores import Stores

redis_server, stores, _ = FIXTURES
BATCH = 500
TENANTS = 20
WORKER = uuid4()
ROWS_READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"


@pytest.fixture(params=["before ANALYZE", "after ANALYZE"])
def protocol(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Connection]:
    """A connection of the protocol to 50,000 jobs in all states; nothing it does is kept."""
    connection = open_protocol_connection(stores.queue_url)
    connection.execute("ALTER TABLE jobs SET (autovacuum_enabled = off)")
    connection.execute(
        LEASES["register"], {"id": WORKER, "kind": "worker", "lease_seconds": 600, "slots": 1, "queue_names": []}
    )
    connection.execute(
        """
        INSERT INTO jobs (tenant_id, queue_name, status, worker_id, gen, lease_expires, started, run_at, due, attempt_count)
        SELECT
            ('00000000-0000-0000-0000-0000000000' || lpad((number %% %(tenants)s)::text, 2, '0'))::uuid,
            %(queue)s,
            status,
            CASE WHEN status = 'running' THEN %(worker)s::uuid END,
            1,
            CASE WHEN status IN ('running', 'migrated_to_redis') THEN now() + interval '1 hour' END,
            CASE WHEN status = 'running' THEN now() END,
            now() + CASE WHEN status = 'retry_scheduled' THEN interval '1 hour' ELSE interval '0' END,
            status <> 'retry_scheduled',
            CASE WHEN status = 'running' THEN 1 ELSE 0 END
        FROM (
            SELECT
                number,
                CASE
                    WHEN number <= 20000 THEN 'migrated_to_redis'
                    WHEN number <= 30000 THEN 'running'
                    WHEN number <= 40000 THEN 'queued'
                    WHEN number <= 45000 THEN 'retry_scheduled'
                    ELSE 'completed'
                END AS status
            FROM generate_series(1, 50000) AS number
        ) AS made
        """,
        {"queue": QUEUE, "worker": WORKER, "tenants": TENANTS},
    )
    if request.param == "after ANALYZE":
        connection.execute("ANALYZE")
    with connection.transaction(force_rollback=True):
        yield connection
    connection.close()


def _of_status(connection: Connection, status: str) -> list[UUID]:
    return [row[0] for row in connection.execute("SELECT id FROM jobs WHERE status = %s LIMIT %s", [status, BATCH])]


def _rows_read(connection: Connection, statement: str, parameters: dict[str, Any]) -> int:
    before = connection.execute(ROWS_READ).fetchone()
    with connection.transaction(force_rollback=True):
        connection.execute(statement.encode(), parameters, prepare=True)  # as it is in the long run: by its one plan
        after = connection.execute(ROWS_READ).fetchone()
    assert before is not None
    assert after is not None
    read: int = after[0] - before[0]
    return read


def _statements(connection: Connection) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Yields name, statement, parameters and how many rows of `jobs` it may read."""
    running = {"ids": _of_status(connection, "running"), "gens": [1] * BATCH, "worker_id": WORKER}
    handed_off = running | {"ids": _of_status(connection, "migrated_to_redis")}
    report: dict[str, Any] = {"finals": [False] * BATCH, "delays": [1.0] * BATCH, "errors": ["x"] * BATCH}
    report |= {"crashes": [0] * BATCH, "waits": [0.0] * BATCH}
    lanes = {"queue_names": [QUEUE], "first_priorities": [51], "last_priorities": [150], "rooms": [BATCH]}
    yield "start", PROTOCOL["start"], handed_off | {"slack_seconds": 60}, BATCH
    yield "put_back", PROTOCOL["put_back"], handed_off, BATCH
    yield "extend_hand_offs", REAPER["extend_hand_offs"], handed_off | {"hand_off_seconds": 10}, BATCH
    yield "finish", PROTOCOL["finish"], running, 2 * BATCH  # and once more for the foreign key of its logs
    yield "release", PROTOCOL["release"], running, BATCH
    yield "owned", PROTOCOL["owned"], running, BATCH
    told = running | {"shares": [0.5] * BATCH, "notes": ["half"] * BATCH}
    yield "note_progress", PROTOCOL["note_progress"], told, BATCH
    yield "still_handed_off", REAPER["still_handed_off"], handed_off, BATCH
    yield "dead_letters", REAPER["dead_letters"], {"since": None, "most": BATCH}, 0
    yield "fail", PROTOCOL["fail"], running | report, 2 * BATCH
    # Looks at twice as many as it takes, changes those it takes, and finds each tenant by one row.
    yield "claim", PROTOCOL["claim"], lanes | {"hand_off_seconds": 10, "most": None}, 3 * BATCH + TENANTS
    yield "queues_with_ready_jobs", PROTOCOL["queues_with_ready_jobs"], {}, 1
    yield "promote_due", PROTOCOL["promote_due"], {"batch": BATCH}, 0
    yield "overdue_hand_offs", REAPER["overdue_hand_offs"], {"batch": BATCH}, 0
    yield "reclaim", REAPER["reclaim"], {"batch": BATCH, "crash_limit": 5}, 10_000


def test_every_statement_reads_the_rows_of_its_batch_only(protocol: Connection) -> None:
    read = {
        name: (_rows_read(protocol, statement, parameters), most)
        for name, statement, parameters, most in _statements(protocol)
    }
    assert {name: counts for name, counts in read.items() if counts[0] > counts[1]} == {}


def test_the_guard_notices_a_plan_that_tips_over(protocol: Connection) -> None:
    protocol.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = on")
    statements = {name: (statement, parameters) for name, statement, parameters, _ in _statements(protocol)}
    assert _rows_read(protocol, *statements["finish"]) > 10_000
