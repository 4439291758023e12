"""Messages may be stored with their base64 decoded."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0007"
down_revision = "content_0006"


def upgrade() -> None:
    apply_sql(__file__)
