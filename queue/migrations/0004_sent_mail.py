"""The ledger that keeps a message from being sent twice."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0004"
down_revision = "queue_0003"


def upgrade() -> None:
    apply_sql(__file__)
