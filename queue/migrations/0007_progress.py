"""Handlers say how far they are."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0007"
down_revision = "queue_0006"


def upgrade() -> None:
    apply_sql(__file__)
