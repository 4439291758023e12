"""A message is sent once, whichever job asks; attempts that were forgotten leave their sums."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0005"
down_revision = "queue_0004"


def upgrade() -> None:
    apply_sql(__file__)
