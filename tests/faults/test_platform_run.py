"""The whole path under kill -9 and by two at once: it always ends in the state of one undisturbed run."""

from __future__ import annotations

import random
import time
from pathlib import Path

import psycopg
import pytest
from platform_support import SYNTHETIC, FinishedRun, Platform, finished_run_fixture  # noqa: F401 - a fixture

from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

pytestmark = [pytest.mark.servers, pytest.mark.slow]

KILLS = 2


@pytest.fixture
def platform(home: Path) -> Platform:
    return Platform(home)


_HELD = "SELECT FROM concurrency_slots WHERE concurrency_key = 'marts_build' AND run_id IS NOT NULL"


def kill_while_dagster_makes_its_tables(platform: Platform) -> None:
    process = platform.start("run", *SYNTHETIC, "--json")
    url = resolve(Settings(home=platform.home)).dagster_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        begun = "SELECT FROM pg_catalog.pg_tables WHERE tablename = 'event_logs'"
        while connection.execute(begun).fetchone() is None:
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        process.kill()
        process.communicate()
        unfinished = "SELECT FROM pg_catalog.pg_tables WHERE tablename = 'penguinmails_tables_being_made'"
        assert connection.execute(unfinished).fetchone() is not None


def kill_while_it_builds_the_marts(platform: Platform) -> None:
    process = platform.start("run", *SYNTHETIC, "--json")
    url = resolve(Settings(home=platform.home)).dagster_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:

        def holds_its_place() -> bool:
            try:
                return connection.execute(_HELD).fetchone() is not None
            except psycopg.errors.UndefinedTable:  # tables left half made by a killed run are made anew first
                return False

        while not holds_its_place():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert holds_its_place()


def test_a_run_killed_anywhere_and_run_again_ends_in_the_same_state(
    platform: Platform, finished_run: FinishedRun
) -> None:
    kill_while_dagster_makes_its_tables(platform)
    chance = random.Random(2026)
    for _ in range(KILLS):
        process = platform.start("run", *SYNTHETIC, "--json")
        time.sleep(chance.uniform(1.5, 9.0))
        process.kill()
        process.communicate()
    kill_while_it_builds_the_marts(platform)  # it holds a place in a pool, for which the next run would wait
    outcome = platform.run(*SYNTHETIC)
    assert outcome["succeeded"], outcome["checks_failed"]
    assert platform.state() == finished_run.state


def test_two_runs_at_once_neither_corrupt_nor_duplicate(platform: Platform, finished_run: FinishedRun) -> None:
    both = [platform.start("run", *SYNTHETIC, "--json") for _ in range(2)]
    for process in both:
        _, problems = process.communicate()
        assert process.returncode == 0, problems
    assert platform.state() == finished_run.state
    again = platform.run(*SYNTHETIC)
    assert again["reports"]["intake"]["loaded"] == 0
    assert again["reports"]["hand_over"]["messages"] == 0
    assert again["reports"]["roll_up"]["rows_extracted"] == 0
