"""Multi tenant core: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    apply_sql(__file__)
