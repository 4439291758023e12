"""kill -9 between any two steps, a full disk, an object store that is gone, and readers while publishing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest
from olap_support import (  # noqa: F401 - fixtures
    World,
    assert_equal_to_recomputation,
    assert_marts_are_exact,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap.build import remove_build
from penguinmails.olap.errors import StorageFailed
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import newest_snapshot, open_marts
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.object_store import ObjectStoreUnavailable
from penguinmails.stack.stores import Stores

STEPS = (
    "_finish",
    "complete",
    "apply_batch",
    "_apply_differences",
    "set_position",
    "compare_events",
    "write_whole",
    "put_in_place",
    "_remember",
    "clear_away",
)
"""Functions in which a process is killed, in the order in which a roll-up and a publication come to them."""
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["penguinmails.olap.publishing", "penguinmails.olap.roll_up", "boto3"])


def run_and_die(stores: Stores, die_in: str) -> None:
    """Rolls up and publishes; is killed on entering the function of this tier with that name."""

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == die_in and "/olap/" in frame.f_code.co_filename:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    threading.setprofile(watch)
    roll_up(stores)
    publish(stores)


def run_with_little_room(stores: Stores, size_bytes: int, outcome: object) -> None:
    """Rolls up and publishes where no file may grow beyond some bytes: what writing to a full disk is to a program."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
    try:
        roll_up(stores)
        publish(stores)
    except StorageFailed as error:
        outcome.value = 1 if "room" in error.remedy else 2  # type: ignore[attr-defined]
        return
    outcome.value = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("size_bytes", [1 << 10, 1 << 20], ids=["not even a batch", "not the marts"])
def test_a_full_disk_is_named_and_what_was_published_stays(stores: Stores, world: World, size_bytes: int) -> None:
    world.message("0")
    world.event("0", "sent")
    roll_up(stores)
    publish(stores)
    before = newest_snapshot(stores.marts_folder)
    world.event("0", "opened", 1)
    outcome = PROCESSES.Value("i", 0)
    process = PROCESSES.Process(target=run_with_little_room, args=(stores, size_bytes, outcome))
    process.start()
    process.join()
    assert outcome.value == 1
    assert newest_snapshot(stores.marts_folder) == before
    roll_up(stores)
    publish(stores)
    assert_marts_are_exact(stores, world)
    assert [path.name for path in (stores.marts_folder / "snapshots").iterdir() if "unfinished" in path.name] == []


def test_without_an_object_store_nothing_changes_and_the_next_run_goes_on(stores: Stores, world: World) -> None:
    world.message("0")
    world.event("0", "sent")
    roll_up(stores)
    before = publish(stores)
    world.event("0", "opened", 1)
    address = dataclasses.replace(stores.bucket, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(ObjectStoreUnavailable):
        roll_up(dataclasses.replace(stores, bucket=address))
    assert newest_snapshot(stores.marts_folder) == before.path
    roll_up(stores)
    publish(stores)
    assert_marts_are_exact(stores, world)


@pytest.mark.slow
def test_killed_at_every_step_the_next_run_ends_in_the_same_state(stores: Stores, world: World) -> None:
    world.message("0")
    world.event("0", "sent")
    roll_up(stores)
    publish(stores)
    for number, step in enumerate(STEPS, start=1):
        world.message(str(number), lead=f"l{number % 3 + 1}")
        world.event(str(number), "sent", number)
        world.event(str(number), "opened", number + 30)
        process = PROCESSES.Process(target=run_and_die, args=(stores, step))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, step
        with open_marts(stores) as connection:  # what was published stays whole
            assert connection.execute("SELECT COUNT(*) FROM marts_freshness").fetchone() == (len(MARTS),)
    roll_up(stores)
    publish(stores)
    assert_marts_are_exact(stores, world)
    assert_equal_to_recomputation(stores)
    leftovers = [path.name for path in (stores.marts_folder / "snapshots").iterdir() if "unfinished" in path.name]
    assert leftovers == []


def test_killed_while_everything_is_made_anew_the_next_run_makes_it(stores: Stores, world: World) -> None:
    for number in range(3):
        world.message(str(number))
        world.event(str(number), "sent", number)
        roll_up(stores)
    publish(stores)
    for step in ("_take_in", "_make_facts", "set_position"):
        remove_build(stores.marts_folder)
        process = PROCESSES.Process(target=run_and_die, args=(stores, step))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, step
    roll_up(stores)
    publish(stores)
    assert_marts_are_exact(stores, world)
    assert_equal_to_recomputation(stores)


def test_readers_never_meet_a_lock_or_a_mixed_state(stores: Stores, world: World) -> None:
    world.message("0")
    world.event("0", "sent")
    roll_up(stores)
    publish(stores)
    stop = threading.Event()

    def read() -> int:
        """Returns how many different publications were seen."""
        seen = [0]
        while not stop.is_set():
            with open_marts(stores) as connection:
                number, daily, campaigns = connection.execute(
                    "SELECT (SELECT number FROM _meta), (SELECT SUM(sent) FROM email_daily),"
                    " (SELECT SUM(sent) FROM campaign_analytics)"
                ).fetchone()  # type: ignore[misc]
            assert daily == campaigns
            assert number >= seen[-1]
            seen.append(number)
        return len(set(seen))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(1, 5):
            world.message(str(number))
            world.event(str(number), "sent", number)
            roll_up(stores)
            publish(stores, kept_snapshots=2)
        stop.set()
        assert all(reader.result() > 1 for reader in readers)
