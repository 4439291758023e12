"""Rate limits of tenants: how fast their jobs may start on a queue.

Belongs here: setting and removing them. Does not belong here: keeping to them (the statement `claim`, sql/protocol.sql).
"""

from __future__ import annotations

import math
from pathlib import Path
from uuid import UUID

from penguinmails.queue.connections import connect
from penguinmails.queue.errors import JobRefused, UnknownQueue
from penguinmails.queue.operations import audit
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

QUERIES = Queries(Path(__file__).parent / "sql" / "limits.sql")


def set_limit(
    stores: Stores,
    queue_name: str,
    tenant_id: UUID,
    *,
    jobs_per_second: float,
    burst: int = 1,
    actor: str,
    reason: str,
) -> None:
    """Limits a tenant's jobs on a queue, and leaves who wanted it and why in the audit.

    Args:
        jobs_per_second: starts allowed in the long run.
        burst: starts allowed at once after a quiet time.

    Raises:
        UnknownQueue: there is no such queue.
        JobRefused: the rate or the burst is out of range.
    """
    if not 0 < jobs_per_second < math.inf or burst < 1:
        raise JobRefused(
            "rate limit",
            "is not positive and finite",
            "Use more than 0 jobs a second and a burst of at least 1; without a rate the limit is taken away.",
        )
    values = {"queue_name": queue_name, "tenant_id": tenant_id, "jobs_per_second": jobs_per_second, "burst": burst}
    with connect(stores.queue_url) as connection, connection.transaction():
        if connection.execute(QUERIES["set_limit"], values).fetchone() is None:
            raise UnknownQueue(f"queue {queue_name[:100]!r}", "is not in job_queues", "Correct the name.")
        audit(connection, "limit", values, actor=actor, reason=reason, changed=0)


def remove_limit(stores: Stores, queue_name: str, tenant_id: UUID, *, actor: str, reason: str) -> bool:
    """Takes a limit away, and leaves that in the audit; returns whether there was one."""
    values = {"queue_name": queue_name, "tenant_id": tenant_id}
    with connect(stores.queue_url) as connection, connection.transaction():
        if connection.execute(QUERIES["remove_limit"], values).rowcount == 0:
            return False
        audit(connection, "unlimit", values, actor=actor, reason=reason, changed=0)
        return True
