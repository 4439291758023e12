"""Ids of tenants' dictionaries, and how well each one did when it was trained."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0002"
down_revision = "content_0001"


def upgrade() -> None:
    apply_sql(__file__)
