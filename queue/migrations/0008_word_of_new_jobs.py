"""PostgreSQL tells a waiting relay of new jobs; a foreign worker's new run begins without the old progress."""

from penguinmails.stack.migrations import apply_sql

revision = "queue_0008"
down_revision = "queue_0007"


def upgrade() -> None:
    apply_sql(__file__)
