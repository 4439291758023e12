"""Making the queue's schema.

Belongs here: applying the migrations and writing the declared queues. Does not belong here: any table (migrations/).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from penguinmails.queue.connections import connect
from penguinmails.queue.queues import QUEUES
from penguinmails.stack import migrations
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

SCHEMA = migrations.Schema(
    "queue", Path(__file__).parent / "migrations", lambda stores: stores.queue_url, "penguinmails queue migrate"
)
_QUERIES = Queries(Path(__file__).parent / "sql" / "producer.sql")


def migrate(stores: Stores) -> list[str]:
    """Brings the queue's database up to date; returns the revisions applied. Changes nothing that is already right."""
    return migrate_database(stores.queue_url)


def migrate_database(url: SecretStr) -> list[str]:
    """The same for one database."""
    applied = migrations.migrate(url, SCHEMA.folder)
    with connect(url) as connection, connection.transaction():
        for definition in QUEUES:
            connection.execute(_QUERIES["declare_queue"], vars(definition))
    return applied


def migrated_stores() -> Stores:
    """Returns the stores, once the queue's tables are there.

    Raises:
        SettingsError: they are missing or not of this version; nothing was changed.
        ServerError: the database cannot be reached.
    """
    stores = resolve()
    SCHEMA.require(stores)
    return stores
