"""A database older or newer than the platform is named with the way out, by the doctor and by every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from platform_support import Platform
from psycopg import sql
from pydantic import SecretStr

from penguinmails.stack import migrations
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.migrations import Schema, SchemaState
from penguinmails.stack.ports import contributions
from penguinmails.stack.stores import resolve

pytestmark = pytest.mark.servers


@pytest.fixture
def url(servers: Embedded) -> Iterator[SecretStr]:
    """An empty database of the queue's login."""
    name = sql.Identifier("test_schema_states")
    with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER penguinmails_queue").format(name))
        yield servers.postgres_url("test_schema_states", login="penguinmails_queue")
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_every_state_is_told_with_its_remedy(url: SecretStr, servers: Embedded) -> None:
    stores = resolve()
    declared: Schema = contributions("penguinmails.schemas")["queue"].load()
    schema = Schema(declared.name, declared.folder, lambda _: url, declared.command)

    def state_at(revision: str) -> SchemaState:
        with psycopg.connect(url.get_secret_value()) as connection:
            connection.execute("UPDATE schema_version SET version_num = %s", [revision])
        return schema.state(stores)

    assert schema.state(stores) is SchemaState.MISSING
    assert migrations.migrate(url, schema.folder) == schema.revisions()
    assert schema.state(stores) is SchemaState.NEWEST
    schema.require(stores)
    assert state_at("from_the_future") is SchemaState.UNKNOWN
    with pytest.raises(SettingsError, match="newer version"):
        migrations.migrate(url, schema.folder)
    assert state_at(schema.revisions()[0]) is SchemaState.OLD
    with pytest.raises(SettingsError, match=r"queue: is older .* Run: penguinmails queue migrate"):
        schema.require(stores)


def test_a_command_on_an_old_schema_says_which(url: SecretStr, servers: Embedded, home: Path) -> None:
    platform = Platform(servers.home, {"PENGUINMAILS_CONTENT_URL": url.get_secret_value()})
    told = platform.call("content", "stats", exit_code=3)
    assert "has no tables yet" in told
    content: Schema = contributions("penguinmails.schemas")["content"].load()
    with psycopg.connect(url.get_secret_value()) as connection:  # a table of an older version: what is newer is missing
        connection.execute("CREATE TABLE content_objects (storage_key text)")
        connection.execute("CREATE TABLE schema_version (version_num text)")
        connection.execute("INSERT INTO schema_version VALUES (%s)", [content.revisions()[0]])
    told = platform.call("content", "stats", exit_code=2)
    assert "schema of the content tier: is older than this version" in told
    assert "penguinmails content migrate" in told
    report = platform.call("doctor", exit_code=1)
    assert "Traceback" not in report
