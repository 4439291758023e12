"""The hand-over area: claims, owners that die, marking, removing."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from oltp_support import NOW, ListSource, clock, items, mail, rows, shared_stores, stores

from penguinmails.oltp import bodies as hand_over_area
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.refusals import RowRefused
from penguinmails.oltp.tenancy import open_pool, tenant_session
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]


def _load(stores: Stores, count: int) -> list[bytes]:
    mails = [mail(number) for number in range(count)]
    load_mail(stores, ListSource(items(*mails)), clock=clock)
    return mails


def test_a_body_goes_its_way_and_leaves(stores: Stores, rows: Rows) -> None:
    [raw] = _load(stores, 1)
    bodies = MessageBodies(stores)
    owner = uuid.uuid4()
    assert bodies.backlog().messages == bodies.backlog(NOW.date()).messages == 1
    assert bodies.backlog(NOW.date() + timedelta(days=1)).messages == 0
    [claimed] = bodies.claim(owner, max_messages=10, max_bytes=1_000_000)
    assert (claimed.raw_message, claimed.correspondent, claimed.direction) == (raw, "lead@example.com", "outbound")
    assert raw.decode() not in repr(claimed)
    stored = [(claimed.tenant_id, claimed.message_id, 'packs/1#0,"\\}')]
    bodies.mark_stored(stored)
    bodies.mark_stored(stored)
    bodies.release(owner)
    assert bodies.backlog().messages == 0
    assert bodies.body(claimed.message_id) == raw
    assert list(bodies.storage_keys()) == [stored]
    assert bodies.remove_stored(datetime(2020, 1, 1, tzinfo=UTC), limit=10) == 0
    assert bodies.remove_stored(datetime.now(UTC) + timedelta(hours=1), limit=10) == 1
    assert bodies.body(claimed.message_id) is None
    assert rows("SELECT content_storage_key FROM email_messages") == [(stored[0][2],)]


def test_references_come_page_by_page(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    _load(stores, 5)
    bodies, owner = MessageBodies(stores), uuid.uuid4()
    claimed = bodies.claim(owner, max_messages=5, max_bytes=1_000_000)
    stored = [(body.tenant_id, body.message_id, str(number)) for number, body in enumerate(claimed) if number != 2]
    bodies.mark_stored(stored)
    bodies.release(owner)
    for page in (1, 2, 5):
        monkeypatch.setattr(hand_over_area, "_PAGE", page)
        assert [reference for found in bodies.storage_keys() for reference in found] == sorted(stored)


def test_two_owners_share_the_work(stores: Stores) -> None:
    _load(stores, 6)
    first, second = MessageBodies(stores), MessageBodies(stores)
    one, two = uuid.uuid4(), uuid.uuid4()
    mine = first.claim(one, max_messages=4, max_bytes=1_000_000)
    yours = second.claim(two, max_messages=4, max_bytes=1_000_000)
    assert (len(mine), len(yours)) == (4, 2)
    assert not {body.message_id for body in mine} & {body.message_id for body in yours}
    first.release(one)
    assert len(second.claim(two, max_messages=10, max_bytes=1_000_000)) == 4
    second.release(two)


def test_bytes_bound_a_claim_but_never_to_nothing(stores: Stores) -> None:
    mails = _load(stores, 3)
    bodies, owner = MessageBodies(stores), uuid.uuid4()
    assert len(bodies.claim(owner, max_messages=10, max_bytes=1)) == 1
    assert len(bodies.claim(owner, max_messages=10, max_bytes=sum(map(len, mails)))) == 2
    bodies.release(owner)


def test_a_body_that_commits_later_between_claimed_ones_waits_for_the_next_claim(stores: Stores, rows: Rows) -> None:
    _load(stores, 5)
    in_order = [row[0] for row in rows("SELECT message_id FROM email_message_bodies ORDER BY created, message_id")]
    bodies = MessageBodies(stores)
    first, late, last = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    with psycopg.connect(stores.oltp_url.get_secret_value()) as slow:
        # As an intake that began long ago and commits only now.
        slow.execute(
            "CREATE TEMPORARY TABLE held AS SELECT * FROM email_message_bodies WHERE message_id = %s", in_order[1:2]
        )
        slow.execute("DELETE FROM email_message_bodies WHERE message_id = %s", in_order[1:2])
        slow.commit()
        slow.execute("INSERT INTO email_message_bodies SELECT * FROM held")
        mine = bodies.claim(first, max_messages=3, max_bytes=10**6)
    assert [body.message_id for body in mine] == [in_order[0], in_order[2], in_order[3]]
    assert [body.message_id for body in bodies.claim(last, max_messages=9, max_bytes=10**6)] == [in_order[4]]
    assert bodies.claim(late, max_messages=9, max_bytes=10**6) == []
    bodies.mark_stored([(body.tenant_id, body.message_id, str(body.message_id)) for body in mine])
    bodies.release(first)
    assert [body.message_id for body in bodies.claim(late, max_messages=9, max_bytes=10**6)] == [in_order[1]]
    for owner in (late, last):
        bodies.release(owner)
    assert rows("SELECT * FROM email_message_body_claims") == []


def test_a_claim_ends_where_another_begins(stores: Stores, rows: Rows) -> None:
    _load(stores, 6)
    in_order = [row[0] for row in rows("SELECT message_id FROM email_message_bodies ORDER BY created, message_id")]
    bodies = MessageBodies(stores)
    owners = [uuid.uuid4() for _ in range(3)]
    claims = [[body.message_id for body in bodies.claim(owner, max_messages=2, max_bytes=10**6)] for owner in owners]
    assert claims == [in_order[:2], in_order[2:4], in_order[4:]]
    for owner in (owners[0], owners[2]):
        bodies.release(owner)
    assert [body.message_id for body in bodies.claim(owners[0], max_messages=9, max_bytes=10**6)] == in_order[:2]
    assert [body.message_id for body in bodies.claim(owners[0], max_messages=9, max_bytes=10**6)] == in_order[4:]
    for owner in owners:
        bodies.release(owner)


def test_many_that_claim_at_once_get_each_body_once(stores: Stores) -> None:
    _load(stores, 40)
    bodies = MessageBodies(stores)

    def claim_all(owner: uuid.UUID) -> list[uuid.UUID]:
        mine: list[uuid.UUID] = []
        while claimed := bodies.claim(owner, max_messages=3, max_bytes=10**6):
            mine += [body.message_id for body in claimed]
        return mine

    owners = [uuid.uuid4() for _ in range(4)]
    with ThreadPoolExecutor(len(owners)) as pool:
        claimed = [message_id for mine in pool.map(claim_all, owners) for message_id in mine]
    assert len(claimed) == len(set(claimed)) == 40
    for owner in owners:
        bodies.release(owner)


def test_an_owner_whose_session_ended_loses_its_claims_and_goes_on(stores: Stores) -> None:
    _load(stores, 3)
    bodies, others = MessageBodies(stores), MessageBodies(stores)
    first, second, third = (uuid.uuid4() for _ in range(3))
    for owner in (first, second):
        assert len(bodies.claim(owner, max_messages=1, max_bytes=10**6)) == 1
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    claimed = others.claim(third, max_messages=9, max_bytes=10**6)
    bodies.release(first)
    bodies.release(second)
    assert len(claimed) == 3
    others.release(third)
    assert len(bodies.claim(first, max_messages=9, max_bytes=10**6)) == 3
    bodies.release(first)


def test_a_day_bounds_a_claim(stores: Stores, rows: Rows) -> None:
    _load(stores, 4)
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE email_message_bodies SET created = created - interval '1 day' WHERE message_id IN"
            " (SELECT message_id FROM email_message_bodies ORDER BY message_id LIMIT 2)"
        )
    bodies, owner = MessageBodies(stores), uuid.uuid4()
    for day in (NOW.date() - timedelta(days=1), NOW.date()):
        claimed = bodies.claim(owner, max_messages=9, max_bytes=10**6, day=day)
        assert [body.created.date() for body in claimed] == [day, day]
        assert bodies.claim(owner, max_messages=9, max_bytes=10**6, day=day) == []
    bodies.release(owner)


def test_the_application_hands_bodies_in_and_says_nothing_of_their_storage(stores: Stores, rows: Rows) -> None:
    _load(stores, 1)
    [(tenant_id,)] = rows("SELECT tenant_id FROM email_message_bodies")
    for statement in (
        "UPDATE email_message_bodies SET stored_at = now()",
        "INSERT INTO email_message_bodies (message_id, raw_message, stored_at) VALUES (gen_random_uuid(), 'x', now())",
        "DELETE FROM email_message_body_claims",
    ):
        with (
            open_pool(stores) as pool,
            pytest.raises(RowRefused, match="email_message_bod"),
            tenant_session(pool, str(tenant_id)) as session,
        ):
            session.execute(statement)


def test_noting_where_a_body_is_kept_sends_no_message_through_the_next_extraction(stores: Stores, rows: Rows) -> None:
    _load(stores, 1)
    [(tenant_id, message_id, xid)] = rows("SELECT tenant_id, id, xid::text FROM email_messages")
    assert isinstance(tenant_id, uuid.UUID)
    assert isinstance(message_id, uuid.UUID)
    MessageBodies(stores).mark_stored([(tenant_id, message_id, "packs/1#0")])
    assert rows("SELECT content_storage_key, xid::text FROM email_messages") == [("packs/1#0", xid)]
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        connection.execute("UPDATE email_messages SET status = 'failed'")
    [(later,)] = rows("SELECT xid::text FROM email_messages")
    assert later != xid


def test_claiming_and_marking_read_no_other_messages_of_the_tenant(stores: Stores, rows: Rows) -> None:
    _load(stores, 30)
    with psycopg.connect(stores.oltp_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO email_messages (tenant_id, company_id, email_account_id, direction, created, updated)"
            " SELECT tenant_id, company_id, email_account_id, direction, created, updated"
            " FROM email_messages, generate_series(1, 1000)"
        )
        connection.execute("ANALYZE email_messages")

    def messages_read() -> int:
        [(count,)] = rows(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables"
            " WHERE relname ~ '^email_messages_(history|default|[0-9])'"
        )
        assert isinstance(count, int)
        return count

    bodies, owner, before = MessageBodies(stores), uuid.uuid4(), messages_read()
    claimed = bodies.claim(owner, max_messages=20, max_bytes=1_000_000)
    bodies.mark_stored([(body.tenant_id, body.message_id, "packs/1#0") for body in claimed])
    bodies.release(owner)
    assert len(claimed) == 20
    assert 20 <= messages_read() - before <= 200


CLAIM_AND_DIE = """
import os, signal, sys, uuid, dataclasses
from pathlib import Path
from pydantic import SecretStr
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.stack.stores import resolve
stores = dataclasses.replace(resolve(), oltp_url=SecretStr(sys.stdin.readline().strip()))
bodies = MessageBodies(stores)
print(len(bodies.claim(uuid.uuid4(), max_messages=10, max_bytes=10**6)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_claims_of_a_killed_owner_are_free_at_once(stores: Stores) -> None:
    _load(stores, 2)
    done = subprocess.run(
        [sys.executable, "-c", CLAIM_AND_DIE],
        input=stores.oltp_url.get_secret_value(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("2", -9)
    bodies, owner = MessageBodies(stores), uuid.uuid4()
    claimed = []
    while len(claimed) < 2:  # the server notices the closed socket when it next reads from it
        claimed += bodies.claim(owner, max_messages=10, max_bytes=10**6)
    bodies.release(owner)
