"""How long this tier still holds what was erased: the promise is 30 days, and this is what tells whether it is kept.

The facts forget a person with the next roll-up, readers with the next publication, the landing zone and the build file with
the next compaction (compacting.py), and old published files go within KEPT_FOR (publishing.py). Belongs here: the ages of the
last two. Does not belong here: forgetting itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from penguinmails.olap.build import open_build
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.publishing import published_at_of
from penguinmails.olap.reading import snapshots
from penguinmails.olap.roll_up import landing_of
from penguinmails.stack.stores import Stores

GONE_WITHIN = timedelta(days=30)


@dataclass(frozen=True)
class ForgettingState:
    """How far back the oldest leads that is kept beside the newest state.

    Args:
        landing_days: days since the oldest batch of the landing zone was read; 0 when it holds one batch only.
        oldest_publication_days: days since the oldest kept file but the newest was published; 0 without any.
    """

    landing_days: float
    oldest_publication_days: float

    @property
    def in_time(self) -> bool:
        return max(self.landing_days, self.oldest_publication_days) <= GONE_WITHIN / timedelta(days=1)

    @property
    def remedy(self) -> str | None:
        """What to do; None while nothing is too old."""
        if self.in_time:
            return None
        return (
            f"The landing zone leads {self.landing_days:,.0f} days back, published files {self.oldest_publication_days:,.0f}. "
            "Run 'penguinmails marts compact --apply' and 'penguinmails marts publish', and see why the weekly job did not."
        )


def forgetting_state(stores: Stores, now: datetime, *, wait_seconds: float = WAIT_SECONDS) -> ForgettingState:
    """Returns how old the oldest data of this tier is.

    Raises:
        LandingDamaged: a manifest is missing or unreadable.
        BuildBusy: another process did not finish in time.
    """
    landing = landing_of(stores)
    with one_at_a_time(stores.marts_folder, wait_seconds=wait_seconds), open_build(stores.marts_folder) as build:
        position = build.position()
        base = landing.manifest(position.batch).base if position else 0
    oldest_batch = timedelta(0)
    if position and base < position.batch:  # asked by its number: a live path makes too many to list
        oldest_batch = now - landing.manifest(base).mark.as_of
    old = snapshots(stores.marts_folder)[:-1]
    oldest_file = now - published_at_of(old[0]) if old else timedelta(0)
    return ForgettingState(oldest_batch / timedelta(days=1), oldest_file / timedelta(days=1))
