"""Application paths: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    apply_sql(__file__)
