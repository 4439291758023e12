"""Statistics: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    apply_sql(__file__)
