"""The ledger of intake is looked through by thread header and by what was set aside, however long it is."""

from penguinmails.stack.migrations import apply_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    apply_sql(__file__)
