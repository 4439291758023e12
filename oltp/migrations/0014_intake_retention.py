"""Retention of the ledger: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    apply_sql(__file__)
