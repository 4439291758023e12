"""Moved bodies: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    apply_sql(__file__)
