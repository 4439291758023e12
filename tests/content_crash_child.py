"""A hand-over in a process of its own that kills itself (SIGKILL) at a given step. Reads its orders as JSON on standard input."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from content_support import NOON, HandOverArea
from pydantic import SecretStr

from penguinmails.content_store import hand_over as module
from penguinmails.content_store.pack_writer import HandOverStep
from penguinmails.stack.stores import resolve


def main() -> None:
    orders = json.load(sys.stdin)
    url = SecretStr(orders["content_url"])
    shared = resolve()
    stores = dataclasses.replace(
        shared,
        home=Path(orders["home"]),
        content_url=url,
        bucket=dataclasses.replace(shared.bucket, name=orders["bucket"]),
    )
    left = orders["times"]

    def die(step: HandOverStep) -> None:
        nonlocal left
        if step == orders["step"]:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    module.CLAIM_MESSAGES = 10
    module.hand_over(
        stores,
        HandOverArea(url),
        clock=lambda: NOON + timedelta(hours=1),
        grace=timedelta(seconds=orders["grace_seconds"]),
        workers=1,
        at_step=die,
    )


if __name__ == "__main__":
    main()
