"""Seeded data: the same for the same seed, restartable, and consistent in itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from oltp_support import empty, rows, shared_stores, stores
from process_support import children_running
from psycopg import sql

from penguinmails.oltp import seeding
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.partitions import rows_in_default_partitions
from penguinmails.oltp.seeding import SCALES, seed
from penguinmails.oltp.seeding_batch import make
from penguinmails.oltp.seeding_scales import Seeding
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.errors import InputError, ServerError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
CHANGING = {"xid"}
NOT_SEEDED = {"email_message_body_claims", "mail_intake"}


def fingerprint(stores: Stores) -> dict[str, tuple[object, ...]]:
    """Count and digest of every table's rows, whatever their order."""
    found = {}
    with connect(stores.oltp_url, Role.LOADER) as connection:
        for table in TABLES.values():
            columns = [sql.Identifier(column.name) for column in table.columns if column.name not in CHANGING]
            statement = sql.SQL(
                "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text FROM {}"
            ).format(sql.SQL(", ").join(columns), sql.Identifier(table.name))
            found[table.name] = connection.execute(statement).fetchone() or ()
    return found


def test_the_same_seed_gives_the_same_rows_in_every_table(stores: Stores) -> None:
    report = seed(stores, scale="tiny")
    first = fingerprint(stores)
    assert {name for name, (count, _) in first.items() if count} == set(TABLES) - NOT_SEEDED
    assert report.rows == {name: count for name, (count, _) in first.items() if count}
    again = seed(stores, scale="tiny")
    assert (again.tenants, again.already_there, again.rows) == (0, SCALES["tiny"].tenants, {})
    assert fingerprint(stores) == first
    empty(stores)
    seed(stores, scale="tiny")
    assert fingerprint(stores) == first
    other = seed(stores, scale="tiny", number=2)
    assert other.tenants == SCALES["tiny"].tenants


SEED_AND_DIE = """
import dataclasses, os, signal, sys
from pydantic import SecretStr
from penguinmails.oltp import seeding, seeding_batch
from penguinmails.stack.stores import resolve
stores = dataclasses.replace(resolve(), oltp_url=SecretStr(sys.stdin.readline().strip()))
steps = int(sys.argv[1])
def counted(original):
    def count(*arguments):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return count
seeding_batch.copy_rows = counted(seeding_batch.copy_rows)
seeding_batch.copy_encoded_rows = counted(seeding_batch.copy_encoded_rows)
seeding.seed(stores, scale="tiny")
"""


def test_a_killed_seeding_goes_on(stores: Stores) -> None:
    seed(stores, scale="tiny")
    undisturbed = fingerprint(stores)
    empty(stores)
    for steps in (5, 14, 25):
        done = subprocess.run(
            [sys.executable, "-c", SEED_AND_DIE, str(steps)],
            input=stores.oltp_url.get_secret_value(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    seed(stores, scale="tiny")
    assert fingerprint(stores) == undisturbed


def test_processes_write_the_same_rows_whatever_ends_them(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        seed(stores, scale="tiny", number=number)
    undisturbed = fingerprint(stores)
    empty(stores)
    monkeypatch.setattr(seeding, "_LEADS_TOGETHER", 1)  # a batch for each of the two tenants

    def kill(tenants: int) -> None:
        for process in children_running("seeding_processes") if tenants else []:
            process.kill()

    def stop(tenants: int) -> None:
        if tenants:
            raise KeyboardInterrupt

    with connect(stores.oltp_url) as holder:
        # The process that is to write the first tenant waits for us; the other one does its work and reports.
        for number in (1, 2):
            held = f"penguinmails.oltp.seeding {Seeding('tiny', number).tenant_id(0)}"
            holder.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [held])
        with pytest.raises(ServerError, match="processes of the seeding: ended with the codes"):
            seed(stores, scale="tiny", processes=2, progress=kill)
        # As in the background of a script, and for what is started there.
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with pytest.raises(KeyboardInterrupt):
                seed(stores, scale="tiny", number=2, processes=2, progress=stop)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert children_running("seeding_processes") == []
    for number in (1, 2):
        report = seed(stores, scale="tiny", number=number)
        assert (report.tenants, report.already_there) == (1, 1)
    assert fingerprint(stores) == undisturbed


def test_seeded_rows_agree_with_one_another(stores: Stores, rows: Rows) -> None:
    seed(stores, scale="tiny")
    assert rows("""
        SELECT count(*) FROM email_messages AS messages
        WHERE direction = 'outbound' AND (sent, delivered, opened, clicked, replied, bounced, unsubscribed, complained)
            IS DISTINCT FROM (
            SELECT ROW(
                min(occurred_at) FILTER (WHERE event_type = 'sent'), min(occurred_at) FILTER (WHERE event_type = 'delivered'),
                min(occurred_at) FILTER (WHERE event_type = 'opened'), min(occurred_at) FILTER (WHERE event_type = 'clicked'),
                min(occurred_at) FILTER (WHERE event_type = 'replied'), min(occurred_at) FILTER (WHERE event_type = 'bounced'),
                min(occurred_at) FILTER (WHERE event_type = 'unsubscribed'),
                min(occurred_at) FILTER (WHERE event_type = 'complained'))
            FROM email_events AS events
            WHERE events.tenant_id = messages.tenant_id AND events.message_id = messages.id)
    """) == [(0,)]
    assert rows("""
        SELECT count(*) FROM email_events AS events
        WHERE NOT EXISTS (SELECT FROM email_messages AS messages
            WHERE messages.tenant_id = events.tenant_id AND messages.id = events.message_id)
    """) == [(0,)]
    assert rows("SELECT count(*) FROM email_messages WHERE raw_size_bytes = 0") == [(0,)]
    assert rows("SELECT count(*) FROM email_events WHERE ingested_at < occurred_at") == [(0,)]
    assert rows(
        "SELECT DISTINCT split_part(email, '@', 2) !~ '(example|test|example\\.(com|net|org))$' FROM leads"
    ) == [(False,)]
    with connect(stores.oltp_url) as connection:
        assert set(rows_in_default_partitions(connection).values()) == {0}


def test_the_documented_scale_is_what_the_documents_say() -> None:
    scale = SCALES["documented"]
    tenants = 4
    messages = events = 0
    for place in range(tenants):
        traffic = make(Seeding("documented", 1), place).traffic
        messages += len(traffic.messages)
        events += len(traffic.events)
    assert (scale.tenants, scale.tenants * scale.campaigns, scale.tenants * scale.leads) == (500, 5_000, 100_000)
    assert messages / tenants * scale.tenants == pytest.approx(1_000_000, rel=0.2)
    assert events / tenants * scale.tenants == pytest.approx(5_000_000, rel=0.2)


def test_an_unknown_scale_is_a_typed_error(stores: Stores) -> None:
    with pytest.raises(InputError, match="scale huge"):
        seed(stores, scale="huge")
