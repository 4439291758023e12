"""Hardening: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    apply_sql(__file__)
