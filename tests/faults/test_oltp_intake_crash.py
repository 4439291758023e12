"""A load that is killed again and again ends like one that was left in peace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from oltp_support import NOW, STATE, clock, empty, rows, shared_stores, stores

from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.synthetic import synthetic_source
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
MESSAGES = 240
LOAD = f"""
import dataclasses, datetime, os, signal, sys
from pydantic import SecretStr
from penguinmails.oltp import intake, intake_writing, synthetic
from penguinmails.stack.stores import resolve
stores = dataclasses.replace(resolve(), oltp_url=SecretStr(sys.stdin.readline().strip()))
intake.MAX_BATCH_MESSAGES = int(sys.argv[1])
steps = int(sys.argv[2])
def kill_at(name):
    original = getattr(intake_writing, name)
    def counted(*arguments):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    setattr(intake_writing, name, counted)
for name in ("lock_tenant", "write_setup", "add_leads", "copy_messages", "copy_events", "copy_ledger", "link_waiting_answers"):
    kill_at(name)
clock = lambda: datetime.datetime.fromisoformat("{NOW.isoformat()}")
intake.load_mail(stores, synthetic.synthetic_source(messages={MESSAGES}), clock=clock)
"""


def load_in_a_process(stores: Stores, batch: int, steps: int) -> int:
    """Loads in a process of its own that is killed before its `steps`th step; 0 lets it end."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(batch), str(steps)],
        input=stores.oltp_url.get_secret_value(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def test_killed_at_every_kind_of_step(stores: Stores, rows: Rows) -> None:
    load_mail(stores, synthetic_source(messages=MESSAGES), clock=clock)
    undisturbed = sorted(rows(STATE), key=str)
    empty(stores)
    for batch, steps in ((40, 1), (40, 2), (40, 4), (30, 5), (25, 6), (40, 7), (40, 9), (35, 16)):
        assert load_in_a_process(stores, batch, steps) == -9
    assert load_in_a_process(stores, 50, 0) == 0
    assert sorted(rows(STATE), key=str) == undisturbed


def test_one_of_two_loads_is_killed(stores: Stores, rows: Rows) -> None:
    load_mail(stores, synthetic_source(messages=MESSAGES), clock=clock)
    undisturbed = sorted(rows(STATE), key=str)
    empty(stores)
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda steps: load_in_a_process(stores, 20, steps), (20, 0)))
    assert codes[1] == 0
    assert sorted(rows(STATE), key=str) == undisturbed
