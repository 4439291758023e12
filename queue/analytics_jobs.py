"""The product's table `analytics_jobs`: which analytics were made, and when.

Belongs here: adding to it. Does not belong here: making analytics (pipelines/job_handlers/).
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from penguinmails.queue.connections import Connection
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "analytics_jobs.sql")


def record_completed(connection: Connection, job_id: UUID) -> None:
    """Notes that a job made its analytics, in the transaction of `connection`; once, however often it is told."""
    connection.execute(QUERIES["record_completed"], {"id": job_id})
