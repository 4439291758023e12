"""What extraction relies on: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    apply_sql(__file__)
