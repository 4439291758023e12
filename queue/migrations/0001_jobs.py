"""Jobs, their queues, logs, workers, audit and probes."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0001"
down_revision = None


def upgrade() -> None:
    apply_sql(__file__)
