"""How long a job waits before it is tried again.

Belongs here: the one formula. Does not belong here: whether it is tried again.
"""

from __future__ import annotations

from random import Random

LONGEST_SECONDS = 300.0
_JITTER = 0.25


def retry_delay_seconds(attempt: int, random: Random) -> float:
    """Returns 2^attempt seconds, give or take a quarter, at most 300.

    Args:
        attempt: number of the attempt that failed, from 1 on.
        random: source of the jitter, which keeps jobs that failed together from coming back together.
    """
    return min(LONGEST_SECONDS, 2.0 ** min(attempt, 20) * random.uniform(1 - _JITTER, 1 + _JITTER))
