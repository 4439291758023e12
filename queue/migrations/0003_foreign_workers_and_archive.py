"""Functions for workers of other languages; ticks of schedules; the list of archived files."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0003"
down_revision = "queue_0002"


def upgrade() -> None:
    apply_sql(__file__)
