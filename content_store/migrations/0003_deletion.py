"""Retention policies, legal holds, soft deletion, erasure, suppression, certificates."""

from penguinmails.stack.migrations import apply_sql

revision = "content_0003"
down_revision = "content_0002"


def upgrade() -> None:
    apply_sql(__file__)
