"""No limit is infinite; errors that workers of other languages report lose the addresses they quote."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0006"
down_revision = "queue_0005"


def upgrade() -> None:
    apply_sql(__file__)
