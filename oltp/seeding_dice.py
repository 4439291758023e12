"""Chance for seeded data: the same dice for the same seed, and how they make ids, times and names.

Belongs here: making one value. Does not belong here: which rows there are (seeding_tenant.py, seeding_traffic.py).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

YEAR_START = datetime(2026, 1, 5, tzinfo=UTC)
"""First Monday of the seeded year: everything seeded lies between here and YEAR_END."""
YEAR_END = datetime(2026, 11, 1, tzinfo=UTC)


class Dice(random.Random):
    """Random values of the kinds that rows need."""

    def uuid_at(self, at: datetime) -> UUID:
        """A uuid of version 7 layout with the time `at`."""
        milliseconds = int(at.timestamp() * 1000)
        noise = self.getrandbits(74)
        return UUID(int=(milliseconds << 16 | 0x7000 | noise >> 62) << 64 | 0b10 << 62 | noise & (1 << 62) - 1)

    def time_between(self, start: datetime, end: datetime) -> datetime:
        """A whole second between two times."""
        return start + timedelta(seconds=self.randrange(max(int((end - start).total_seconds()), 1)))

    def working_time(self, at: datetime) -> datetime:
        """A time on that day or the Monday after it, between 8 and 17 h."""
        day = at.replace(hour=8, minute=0, second=0, microsecond=0)
        day += timedelta(days=max(0, 8 - day.isoweekday()) if day.isoweekday() > 5 else 0)
        return day + timedelta(seconds=self.randrange(9 * 3600))

    def happens(self, rate: float) -> bool:
        """True with that probability."""
        return self.random() < rate


def dice_for(*names: object) -> Dice:
    """Returns dice that fall the same way for the same names."""
    return Dice(" ".join(map(str, names)))
