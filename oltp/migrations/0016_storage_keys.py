"""Storage keys: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    apply_sql(__file__)
