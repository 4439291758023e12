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

from content_support import TENANT_A, HandOverArea
from pydantic import SecretStr

from penguinmails.content_store import compaction, erasure, export, hand_over, key_rotation, retention, sweeping
from penguinmails.content_store.export_formats import Format
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
    claim: int = 4
    """Messages a hand-over claims at a time."""


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

    area = HandOverArea(url)

    def clock() -> datetime:
        return orders.now

    if orders.action == "hand_over":
        hand_over.CLAIM_MESSAGES = orders.claim
        hand_over.hand_over(stores, area, clock=clock, grace=orders.grace, workers=1, at_step=die)
    if orders.action == "compact":
        compaction.compact(stores, clock=clock, everything_erased=True, at_step=die)
    if orders.action == "erase":
        erasure.PAGE = 3
        erasure.run_erasures(stores, area, clock=clock, at_step=die)
    if orders.action == "retain":
        retention.PAGE = 3
        retention.apply_retention(stores, clock=clock, at_step=die)
    if orders.action == "rotate":
        key_rotation._PAGE = 3
        key_rotation.rotate_key(stores, TENANT_A, clock=clock, at_step=die)
    if orders.action == "sweep":
        sweeping.sweep(stores, clock=clock, at_step=die)
    if orders.action == "export":
        export._NOTE_EVERY = 3
        export.export_messages(
            stores, area, export.ExportScope(TENANT_A), orders.home / "mbox", form=Format.MBOX, at_step=die
        )
