"""Messages by address: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    apply_sql(__file__)
