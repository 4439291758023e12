"""Roles and functions: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    apply_sql(__file__)
