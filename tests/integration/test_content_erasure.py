"""Erasure while mail still waits: nothing certified that is not so, and a tenant's keys go with the last of its mail."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from content_support import (
    NOON,
    TENANT_A,
    TENANT_B,
    HandOverArea,
    bodies,
    connect_to_index,
    mail,
    make_template,
    message_id,
    stores_of,
)

from penguinmails.content_store import hand_over as hand_over_module
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.compaction import DELETE_AFTER, compact
from penguinmails.content_store.erasure import (
    erase_person,
    is_suppressed,
    plan_erasure,
    request_erasure,
    run_erasures,
)
from penguinmails.content_store.errors import ContentGone, PackLost, TenantKeyMissing
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.holds import place_hold, release_hold
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.reading import ContentReader, read_message
from penguinmails.content_store.steps import HandOverStep, Step
from penguinmails.content_store.storage_layout import LEASE, PREFIX, storage_key
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.errors import InputError
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

pytestmark = pytest.mark.servers
LATER = NOON + 3 * DELETE_AFTER


@pytest.fixture
def stores(template_database, clone_database, bucket: Bucket, tmp_path: Path) -> Stores:
    template = template_database("content", make_template)
    return stores_of(clone_database("content", template), bucket, tmp_path)


@pytest.fixture
def area(stores: Stores) -> Iterator[HandOverArea]:
    area = HandOverArea(stores.content_url)
    yield area
    area.close()


@pytest.fixture
def other(stores: Stores) -> Iterator[HandOverArea]:
    """The hand-over area as another process sees it."""
    other = HandOverArea(stores.content_url)
    yield other
    other.close()


def noon():
    return NOON


def later():
    return LATER


def after_lease():
    return LATER + 2 * LEASE


def key(number: int, tenant_id: UUID = TENANT_A) -> str:
    return storage_key(tenant_id, message_id(number, tenant_id))


def certified(stores: Stores) -> list[tuple[str, int | None]]:
    with connect_to_index(stores.content_url) as connection:
        rows = connection.execute("SELECT statement FROM erasure_certificates ORDER BY sequence").fetchall()
    return [(statement["state"], statement.get("messages")) for (statement,) in rows]


def remove_bytes(stores: Stores, area: HandOverArea) -> None:
    """All that makes erased bytes leave the object store, and the run that certifies it."""
    compact(stores, clock=noon, everything_erased=True)
    sweep(stores, clock=later)
    run_erasures(stores, area, clock=later)


def test_a_body_in_its_grace_goes_before_anything_is_certified(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(4))
    hand_over(stores, area, clock=noon)
    area.add(*bodies(1, tenant_id=TENANT_B))
    assert area.body(message_id(1)) == mail(1)
    request_erasure(stores, TENANT_A, storage_keys=[key(1), key(9)], clock=noon)
    (state,) = run_erasures(stores, area, clock=noon)
    assert state.effective
    assert area.body(message_id(1)) is None
    assert area.body(message_id(2)) == mail(2)
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key(1), bodies=area)


class Stop(Exception):
    """The hand-over area cannot be reached."""


class Unreachable(HandOverArea):
    def drop_bodies(self, tenant_id: UUID, message_ids) -> int:
        raise Stop


def test_what_cannot_be_removed_is_not_certified(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(3))
    request_erasure(stores, TENANT_A, storage_keys=[key(1)], clock=noon)
    away = Unreachable(stores.content_url)
    with pytest.raises(Stop):
        run_erasures(stores, away, clock=noon)
    away.close()
    assert certified(stores) == []
    assert area.body(message_id(1)) == mail(1)
    assert run_erasures(stores, area, clock=noon)[0].effective
    assert area.body(message_id(1)) is None
    assert hand_over(stores, area, clock=noon).messages == 2


def test_a_tenant_is_erased_with_all_that_waits_its_keys_and_its_dictionaries(
    stores: Stores, area: HandOverArea, bucket: Bucket
) -> None:
    area.add(*bodies(300), *bodies(3, tenant_id=TENANT_B))
    hand_over(stores, area, clock=noon)
    assert [entry.key for entry in bucket.list(PREFIX) if "/dictionaries/" in entry.key]
    waiting = bodies(304)[300:]
    area.add(*waiting)
    erase_person(stores, area, TENANT_A, "lead7@example.net", clock=noon)
    plan = plan_erasure(stores, area, TENANT_A, None)
    assert (plan.named, plan.stored, plan.waiting) == (None, 299, 4)
    request_erasure(stores, TENANT_A, clock=noon)
    (state,) = [state for state in run_erasures(stores, area, clock=noon) if state.scope == "tenant"]
    assert (state.messages, state.effective, state.gone) == (304, True, False)
    assert area.messages_of(TENANT_A, after=None, limit=1000) == sorted(message_id(number) for number in range(300))
    assert not area.still_here(TENANT_A, [message_id(number) for number in range(304)])
    assert (stores.keys_folder / f"{TENANT_A}.1.key").exists()
    remove_bytes(stores, area)
    sweep(stores, clock=later)
    assert not [entry.key for entry in bucket.list(PREFIX) if str(TENANT_A) in entry.key]
    assert sorted(path.name for path in stores.keys_folder.iterdir()) == sorted(
        [f"{TENANT_A}.0.key", f"{TENANT_B}.1.key"]
    )
    assert certified(stores)[-2:] == [("bytes gone", 304), ("tenant key destroyed", None)]
    assert check_chain(stores).broken_at is None
    assert is_suppressed(stores, TENANT_A, "Lead7@example.net ")
    with ContentReader(stores) as reader:
        assert reader.read(key(1, TENANT_B)) == mail(1)
    # Mail that comes later gets a key of its own; the old generation is never used again.
    area.add(*bodies(402)[400:])
    assert hand_over(stores, area, clock=later).messages == 2
    assert (stores.keys_folder / f"{TENANT_A}.2.key").exists()
    assert read_message(stores, storage_key=key(400)) == mail(400)
    with connect_to_index(stores.content_url) as connection, pytest.raises(TenantKeyMissing):
        KeyRing(key_source(stores)).for_reading(connection, TENANT_A, 1)


def test_keys_stay_while_anything_needs_them(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(3))
    hand_over(stores, area, clock=noon)
    area.add(*bodies(5)[3:])
    held = place_hold(stores, area, TENANT_A, matter="4/2026", storage_keys=[key(4), key(77)], clock=noon)
    assert (held.messages, held.not_there) == (1, (key(77),))
    request_erasure(stores, TENANT_A, clock=noon)
    (state,) = run_erasures(stores, area, clock=noon)
    assert (state.messages, state.blocked, state.effective) == (5, 1, False)
    assert area.body(message_id(4)) == mail(4)
    assert area.body(message_id(3)) is None
    remove_bytes(stores, area)
    assert hand_over(stores, area, clock=later).messages == 1  # the held one; it stays held where it is now
    run_erasures(stores, area, clock=later)
    assert read_message(stores, storage_key=key(4)) == mail(4)
    assert (stores.keys_folder / f"{TENANT_A}.1.key").exists()
    release_hold(stores, held.hold_id, clock=later)
    assert run_erasures(stores, area, clock=later)[0].effective
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key(4), bodies=area)


def test_a_hand_over_under_way_cannot_store_under_a_key_that_was_dropped(
    stores: Stores, area: HandOverArea, other: HandOverArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over_module, "CLAIM_MESSAGES", 1)
    first, second = bodies(2)
    area.add(first, dataclasses.replace(second, created=NOON + timedelta(hours=1)))
    claims = 0

    def erase_the_tenant(step: Step) -> None:
        """The first message is stored, the tenant's key is in memory, the second message's pack is not known yet."""
        nonlocal claims
        claims += step is HandOverStep.CLAIMED
        if step is not HandOverStep.CLAIMED or claims != 2:
            return
        request_erasure(stores, TENANT_A, clock=noon)
        run_erasures(stores, other, clock=noon)
        compact(stores, clock=noon, everything_erased=True)
        sweep(stores, clock=after_lease)
        execute = area.connection.execute
        execute("UPDATE hand_over_area.bodies SET stored_at = now() WHERE storage_key IS NULL")  # nothing seems to wait
        run_erasures(stores, other, clock=after_lease)
        execute("UPDATE hand_over_area.bodies SET stored_at = NULL WHERE storage_key IS NULL")

    with pytest.raises(PackLost):
        hand_over(stores, area, clock=later, workers=1, at_step=erase_the_tenant)
    assert certified(stores)[-1] == ("tenant key destroyed", None)
    assert hand_over(stores, area, clock=later).messages == 1
    assert read_message(stores, storage_key=key(1)) == mail(1)
    with pytest.raises(ContentGone):
        read_message(stores, storage_key=key(0))


def test_one_person_is_erased_wherever_their_mail_is(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(4))
    hand_over(stores, area, clock=noon)
    answer = bodies(6)[5]
    area.add(type(answer)(TENANT_A, answer.message_id, NOON, "inbound", "email", "lead2@example.net", mail(5)))
    state = erase_person(stores, area, TENANT_A, " Lead2@Example.NET", clock=noon)
    assert (state.scope, state.messages, state.effective) == ("person", 2, True)
    for number in (2, 5):
        with pytest.raises(ContentGone):
            read_message(stores, storage_key=key(number), bodies=area)
    assert read_message(stores, storage_key=key(1)) == mail(1)
    assert is_suppressed(stores, TENANT_A, "lead2@example.net")
    assert not is_suppressed(stores, TENANT_A, "lead1@example.net")
    assert not is_suppressed(stores, TENANT_B, "lead2@example.net")
    remove_bytes(stores, area)
    assert certified(stores) == [("unreadable", 2), ("bytes gone", 2)]
    with connect_to_index(stores.content_url) as connection:
        kept = connection.execute(
            "SELECT (SELECT string_agg(statement::text, '') FROM erasure_certificates)"
            " || (SELECT string_agg(s::text, '') FROM suppressions AS s)"
        ).fetchone()
    assert "lead2" not in kept[0]
    stranger = erase_person(stores, area, TENANT_A, "nobody@example.org", clock=later)
    assert (stranger.messages, stranger.gone) == (0, True)
    assert is_suppressed(stores, TENANT_A, "nobody@example.org")
    for wrong in ("nobody", "a b@example.org", "@example.org"):
        with pytest.raises(InputError) as refused:
            erase_person(stores, area, TENANT_A, wrong, clock=later)
        assert wrong not in str(refused.value)


def test_the_owner_of_the_tables_too_sees_nothing_it_did_not_ask_for(stores: Stores, area: HandOverArea) -> None:
    area.add(*bodies(2), *bodies(3, tenant_id=TENANT_B))
    hand_over(stores, area, clock=noon)
    count = "SELECT count(*) FROM content_objects"
    with connect_to_index(stores.content_url) as connection:
        assert connection.execute(count).fetchone() == (5,)
        forced = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname <> 'schema_version' AND NOT (relrowsecurity AND relforcerowsecurity)"
        ).fetchall()
        assert forced == []
        connection.execute("RESET app.works_for; SET app.works_for = ''")
        assert connection.execute(count).fetchone() == (0,)
        connection.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(TENANT_B)])
        assert connection.execute(count).fetchone() == (3,)
        connection.execute("UPDATE content_objects SET deleted_at = %s", [NOON + timedelta(days=1)])
        connection.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(uuid4())])
        assert connection.execute(count).fetchone() == (0,)
