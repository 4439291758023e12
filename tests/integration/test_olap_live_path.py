"""The live path: killed, beside another one, beside a daily run; and what Dagster says of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from olap_support import (  # noqa: F401 - fixtures
    World,
    assert_equal_to_recomputation,
    assert_marts_are_exact,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap.following import follow
from penguinmails.olap.live_path import LAG_LIMIT_SECONDS, live_path_state
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import published_path
from penguinmails.olap.roll_up import roll_up
from penguinmails.olap.statistics import published_state
from penguinmails.pipelines.checks.olap_live_path import OBSERVE_SECONDS, live_path_keeps_up, marts_lag
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.stores import Stores

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["penguinmails.olap.following", "boto3"])
WAIT_SECONDS = 60.0


def run_follower(stores: Stores) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    follow(stores, stop, interval_seconds=0.05)


@contextmanager
def following(stores: Stores) -> Iterator[multiprocessing.process.BaseProcess]:
    """A follower in a process of its own, stopped in good order unless it was killed."""
    process = PROCESSES.Process(target=run_follower, args=(stores,), daemon=True)
    process.start()
    yield process
    process.terminate()
    process.join(WAIT_SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL)


def wait_until_published(stores: Stores, moment: datetime) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    link = published_path(stores.marts_folder)  # the first file is there a moment before it
    while not (link.is_symlink() and published_state(stores).as_of >= moment):
        assert time.monotonic() < give_up_at, f"nothing committed at {moment} was published within {WAIT_SECONDS} s"
        time.sleep(0.05)


def test_two_followers_a_daily_run_and_a_kill_lose_nothing(stores: Stores, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    with following(stores) as one, following(stores):
        wait_until_published(stores, datetime.now(UTC))
        for number in range(4):
            world.event("a", "opened", number + 1)
            if number == 1:
                assert one.pid is not None
                os.kill(one.pid, signal.SIGKILL)
            if number == 2:  # a daily run beside them
                roll_up(stores)
                publish(stores)
        world.event("a", "clicked", 5)
        wait_until_published(stores, datetime.now(UTC))
        assert_marts_are_exact(stores, world)
    assert_equal_to_recomputation(stores)
    state = live_path_state(stores, datetime.now(UTC) + timedelta(hours=1))
    assert state is not None  # the note of the killed one
    assert (state.followers, state.keeps_up) == (1, False)
    assert "start it again" in str(state.remedy)
    with following(stores):
        wait_until_published(stores, datetime.now(UTC))
    assert live_path_state(stores, datetime.now(UTC)) is None


@pytest.fixture(name="look")
def look_fixture(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dg.SensorResult | dg.SkipReason]:
    """Lets Dagster's sensor look at a moment, with what it remembers."""

    def look(at: datetime, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        monkeypatch.setattr("penguinmails.pipelines.checks.olap_live_path.utc_now", lambda: at)
        with dg.build_sensor_context(cursor=cursor, resources={"platform": Platform(stores)}) as context:
            found = marts_lag(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found

    return look


def test_dagster_plots_the_lag_and_says_when_it_grows(
    stores: Stores, world: World, look: Callable[..., dg.SensorResult | dg.SkipReason]
) -> None:
    assert isinstance(look(datetime.now(UTC), None), dg.SkipReason)
    stop = threading.Event()
    kept: list[list[str]] = []

    def while_following(_: object) -> None:
        now = datetime.now(UTC)
        cursor: str | None = None
        for seconds in (
            0.0,
            30.0 - LAG_LIMIT_SECONDS,
            LAG_LIMIT_SECONDS + 1,
            OBSERVE_SECONDS + 1,
            OBSERVE_SECONDS + 31,
        ):
            result = look(now + timedelta(seconds=seconds), cursor)
            assert isinstance(result, dg.SensorResult)
            cursor = result.cursor
            kept.append([type(event).__name__ for event in result.asset_events])
        stop.set()

    follow(stores, stop, interval_seconds=0, report=while_following)
    observed, evaluated = "AssetObservation", "AssetCheckEvaluation"
    assert kept == [[observed, evaluated], [], [evaluated], [observed], []]
    passed = live_path_keeps_up(Platform(stores))
    assert isinstance(passed, dg.AssetCheckResult)
    assert passed.passed
