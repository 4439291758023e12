"""Messaging: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    apply_sql(__file__)
