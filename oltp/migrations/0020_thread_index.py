"""The index of thread headers is always up to date."""

from penguinmails.stack.migrations import apply_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    apply_sql(__file__)
