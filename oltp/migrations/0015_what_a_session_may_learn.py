"""What a session may learn of others: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    apply_sql(__file__)
