"""Platform overview: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    apply_sql(__file__)
