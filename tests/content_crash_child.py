"""Work of the content tier in a process of its own that kills itself (SIGKILL) at a given step.

The process is real and its death too; it is forked from a server that has imported everything already, because importing
would be most of each test's time.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from content_support import HandOverArea
from pydantic import SecretStr

from penguinmails.content_store import compaction, erasure, hand_over
from penguinmails.stack.stores import resolve

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["content_crash_child", "boto3", "botocore.httpsession"])


@dataclass(frozen=True)
class Orders:
    """What to do and when to die."""

    action: str
    step: str
    times: int
    now: datetime
    grace: timedelta
    content_url: str
    bucket: str
    home: Path


def run_and_die(orders: Orders) -> int:
    """Returns the exit code: minus the signal's number when the process was killed."""
    process = _PROCESSES.Process(target=_work, args=(orders,))
    process.start()
    process.join(60)
    code = process.exitcode
    process.close()
    return code if code is not None else 0


def _work(orders: Orders) -> None:
    url = SecretStr(orders.content_url)
    shared = resolve()
    address = dataclasses.replace(shared.bucket, name=orders.bucket)
    stores = dataclasses.replace(shared, home=orders.home, content_url=url, bucket=address)
    left = orders.times

    def die(step: str = "") -> None:
        nonlocal left
        if step == orders.step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if orders.action == "hand_over":
        hand_over.CLAIM_MESSAGES = 4
        area = HandOverArea(url)
        hand_over.hand_over(stores, area, clock=lambda: orders.now, grace=orders.grace, workers=1, at_step=die)
    if orders.action == "compact":
        compaction.compact(stores, clock=lambda: orders.now, everything_erased=True, at_step=die)
    if orders.action == "erase":
        erasure.PAGE = 3
        erasure.run_erasures(stores, area, clock=lambda: orders.now, at_step=die)
