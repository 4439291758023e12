"""Claims of bodies: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    apply_sql(__file__)
