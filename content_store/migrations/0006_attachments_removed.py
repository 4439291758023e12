"""Listed attachments know where they are stored and whether they have gone."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0006"
down_revision = "content_0005"


def upgrade() -> None:
    apply_sql(__file__)
