"""A short run of the chaos on real processes; the long one is `bench/queue_tier/chaos.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

import pytest
from pydantic import SecretStr
from queue_chaos import Chaos
from queue_support import make_stores, own_redis

SECONDS = 5.0


@pytest.mark.slow
def test_chaos_loses_nothing(
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
    servers: object,
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("QUEUE_CHAOS_SEED", SystemRandom().randrange(2**31)))
    with own_redis() as server:
        stores = make_stores(server, template_database, clone_database)
        report = Chaos(stores, server, tmp_path, seed=seed).run(SECONDS)
    assert report.violation_counts == {}, report
    assert report.acknowledged > 200
    assert report.runs >= report.acknowledged
