"""Infrastructure and configuration: see the SQL beside this file."""

from penguinmails.stack.migrations import apply_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    apply_sql(__file__)
