"""Making the queue's schema.

Belongs here: applying the migrations and writing the declared queues. Does not belong here: any table (migrations/).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from penguinmails.queue.connections import connect
from penguinmails.queue.queues import QUEUES
from penguinmails.stack import migrations
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

FOLDER = Path(__file__).parent / "migrations"
_QUERIES = Queries(Path(__file__).parent / "sql" / "producer.sql")


def migrate(stores: Stores) -> list[str]:
    """Brings the queue's database up to date; returns the revisions applied. Changes nothing that is already right."""
    return migrate_database(stores.queue_url)


def migrate_database(url: SecretStr) -> list[str]:
    """The same for one database."""
    applied = migrations.migrate(url, FOLDER)
    with connect(url) as connection, connection.transaction():
        for definition in QUEUES:
            connection.execute(_QUERIES["declare_queue"], vars(definition))
    return applied


def migrated_stores() -> Stores:
    """Returns the stores, once the queue's tables are there.

    Raises:
        SettingsError: they are not; nothing was changed.
    """
    stores = resolve()
    with connect(stores.queue_url) as connection:
        row = connection.execute("SELECT to_regclass('queue_log_summaries') IS NOT NULL").fetchone()
    if not (row and row[0]):
        raise SettingsError("tables of the queue", "are missing or old", "Run: penguinmails queue migrate")
    return stores
