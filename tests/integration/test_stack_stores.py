"""Stores resolved from settings: embedded by default, real servers by URL; migrations and the S3 client on real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from platform_support import as_real_servers
from pydantic import SecretStr

from penguinmails.stack import embedded
from penguinmails.stack.errors import IntegrityError, ServerError, SettingsError
from penguinmails.stack.migrations import migrate, sql_of_all
from penguinmails.stack.object_store import (
    Bucket,
    BucketAddress,
    ObjectMissing,
    ObjectStoreUnavailable,
    OperationNotAllowed,
)
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

MIGRATION = '''"""A migration of a test."""
from penguinmails.stack.migrations import apply_sql
revision = "{revision}"
down_revision = {after}
def upgrade() -> None:
    apply_sql(__file__)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    add(migrations, "0001", None, "CREATE TABLE jobs (name text CHECK (name NOT LIKE '%:high')); -- ':not_a_parameter'")
    return migrations


def add(folder: Path, revision: str, after: str | None, text: str) -> None:
    (folder / f"{revision}_step.py").write_text(MIGRATION.format(revision=revision, after=repr(after)))
    (folder / f"{revision}_step.sql").write_text(text)


def test_real_servers_by_url_need_no_embedded_ones(
    second_servers: embedded.Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENGUINMAILS_HOME", str(tmp_path / "home"))
    for name, value in as_real_servers(second_servers).items():
        monkeypatch.setenv(name, value)
    stores = resolve()
    for url in (stores.oltp_url, stores.content_url, stores.queue_url, stores.dagster_url, stores.oltp_app_url):
        psycopg.connect(url.get_secret_value()).close()
    assert stores.open_redis().ping()
    stores.open_bucket().put("here", b"1")
    assert Bucket(second_servers.bucket()).get("here") == b"1"
    assert embedded.find(tmp_path / "home") is None
    assert "secret" not in repr(stores).lower().replace("secretstr", "").replace("secret_access_key", "")


def test_settings_that_contradict_or_are_malformed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENGUINMAILS_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match="PENGUINMAILS_S3_BUCKET"):
        resolve(Settings.load())
    monkeypatch.delenv("PENGUINMAILS_S3_ENDPOINT_URL")
    monkeypatch.setenv("PENGUINMAILS_OLTP_URL", "mysql://someone:hidden@host/db")
    with pytest.raises(SettingsError, match="PENGUINMAILS_OLTP_URL") as raised:
        Settings.load()
    assert "hidden" not in str(raised.value)


def test_doctor_names_a_store_that_is_down_and_its_remedy(
    second_servers: embedded.Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENGUINMAILS_HOME", str(second_servers.home))
    monkeypatch.setenv("PENGUINMAILS_QUEUE_URL", "postgresql://nobody@127.0.0.1:1/queue")
    done = subprocess.run(
        [sys.executable, "-m", "penguinmails.stack.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert '"name": "PostgreSQL of queue",\n      "ok": false' in done.stdout
    assert '"name": "PostgreSQL of oltp",\n      "ok": true' in done.stdout
    assert "PENGUINMAILS_*_URL" in done.stdout


def test_migrations_apply_once_in_order_even_by_two_at_once(
    servers: embedded.Embedded, clone_database: Callable[[str, str], SecretStr], folder: Path
) -> None:
    url = clone_database("queue", "template0")
    program = (
        "import sys; from pathlib import Path; from pydantic import SecretStr\n"
        "from penguinmails.stack.migrations import migrate\n"
        "print(len(migrate(SecretStr(sys.stdin.read()), Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    applied = [one.communicate(url.get_secret_value())[0].strip() for one in both]
    assert sorted(applied) == ["0", "1"]
    add(folder, "0002", "0001", "ALTER TABLE jobs ADD COLUMN payload text;")
    assert migrate(url, folder) == ["0002"]
    assert migrate(url, folder) == []


def test_a_failed_migration_leaves_nothing_behind(
    clone_database: Callable[[str, str], SecretStr], folder: Path
) -> None:
    url = clone_database("queue", "template0")
    add(folder, "0002", "0001", "CREATE TABLE other (); SELECT 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        migrate(url, folder)
    with psycopg.connect(url.get_secret_value()) as connection:
        assert connection.execute("SELECT to_regclass('jobs'), to_regclass('other')").fetchone() == (None, None)


def test_a_database_that_is_down_is_a_server_error(folder: Path) -> None:
    with pytest.raises(ServerError, match="reachable"):
        migrate(SecretStr("postgresql://nobody@127.0.0.1:1/queue"), folder)


def test_offline_sql_holds_the_text_as_written(folder: Path) -> None:
    text = sql_of_all(folder)
    assert "NOT LIKE '%:high'" in text
    assert "SET LOCAL lock_timeout" in text


def test_the_bucket_gives_back_what_it_took(bucket: Bucket) -> None:
    bucket.put("folder/one", b"0123456789")
    bucket.put("folder/empty", b"")
    assert bucket.get("folder/one") == b"0123456789"
    assert bucket.get_range("folder/one", 3, 4) == b"3456"
    assert bucket.get_range("folder/one", 3, 0) == b""
    assert bucket.size_bytes("folder/one") == 10
    assert [(entry.key, entry.size_bytes) for entry in bucket.list("folder/")] == [
        ("folder/empty", 0),
        ("folder/one", 10),
    ]
    bucket.delete(["folder/one", "folder/never-there"])
    assert bucket.size_bytes("folder/one") is None
    with pytest.raises(ObjectMissing, match="folder/one"):
        bucket.get("folder/one")
    bucket.put("folder/one", b"short")
    with pytest.raises(IntegrityError, match="of 10 bytes"):
        bucket.get_range("folder/one", 0, 10)


def test_an_operation_that_would_overwrite_the_object_is_never_sent(bucket: Bucket) -> None:
    bucket.put("held", b"evidence")
    with pytest.raises(OperationNotAllowed, match="PutObjectLegalHold"):
        bucket.client.put_object_legal_hold(Bucket=bucket.address.name, Key="held", LegalHold={"Status": "ON"})
    with pytest.raises(OperationNotAllowed, match="PutObjectTagging"):
        bucket.client.put_object_tagging(Bucket=bucket.address.name, Key="held", Tagging={"TagSet": []})
    assert bucket.get("held") == b"evidence"


def test_wrong_credentials_and_a_store_that_is_down_are_typed_errors(bucket: Bucket) -> None:
    address = bucket.address
    stranger = Bucket(
        BucketAddress(address.name, address.endpoint_url, "us-east-1", SecretStr("stranger12345"), SecretStr("x" * 20))
    )
    with pytest.raises(ObjectStoreUnavailable) as raised:
        stranger.put("key", b"")
    assert "x" * 20 not in str(raised.value)
    nowhere = Bucket(BucketAddress("bucket", "http://127.0.0.1:1", "us-east-1", SecretStr("a"), SecretStr("b")))
    with pytest.raises(ObjectStoreUnavailable, match="does not answer"):
        nowhere.get("key")
