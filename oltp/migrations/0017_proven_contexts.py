"""Contexts that are cheap to read and may be asked for a proof: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    apply_sql(__file__)
