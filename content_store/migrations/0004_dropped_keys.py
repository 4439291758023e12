"""Keys and dictionaries dropped with a tenant's mail; row level security for the owner too."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0004"
down_revision = "content_0003"


def upgrade() -> None:
    apply_sql(__file__)
