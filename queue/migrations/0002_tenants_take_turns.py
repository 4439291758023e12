"""The index of ready jobs goes by tenant; tenants may have rate limits."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0002"
down_revision = "queue_0001"


def upgrade() -> None:
    apply_sql(__file__)
