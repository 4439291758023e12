"""The index: objects, packs, attachments, dictionaries, key check values, broken references."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0001"
down_revision = None


def upgrade() -> None:
    apply_sql(__file__)
