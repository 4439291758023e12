"""The hand-over area: claims, owners that die, marking, removing."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from oltp_support import NOW, ListSource, clock, items, mail, rows, shared_stores, stores

from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.intake import load_mail
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
    stored = [(claimed.tenant_id, claimed.message_id, "packs/1#0")]
    bodies.mark_stored(stored)
    bodies.mark_stored(stored)
    bodies.release(owner)
    assert bodies.backlog().messages == 0
    assert bodies.body(claimed.message_id) == raw
    assert bodies.storage_keys(after=None, limit=10) == stored
    assert bodies.storage_keys(after=claimed.message_id, limit=10) == []
    assert bodies.remove_stored(datetime(2020, 1, 1, tzinfo=UTC), limit=10) == 0
    assert bodies.remove_stored(datetime.now(UTC) + timedelta(hours=1), limit=10) == 1
    assert bodies.body(claimed.message_id) is None
    assert rows("SELECT content_storage_key FROM email_messages") == [("packs/1#0",)]


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
