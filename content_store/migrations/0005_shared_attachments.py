"""Large attachments stored once, their own retention, and labels of messages."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0005"
down_revision = "content_0004"


def upgrade() -> None:
    apply_sql(__file__)
