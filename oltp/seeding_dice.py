"""Chance for seeded data: the same dice for the same seed, and how they make ids, times and names.

Belongs here: making one value. Does not belong here: which rows there are (seeding_tenant.py, seeding_traffic.py).
"""

from __future__ import annotations

import random
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

YEAR_START = datetime(2026, 1, 5, tzinfo=UTC)
"""First Monday of the seeded year: everything seeded lies between here and YEAR_END."""
YEAR_END = datetime(2026, 11, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400
_THURSDAY = 4
"""The weekday of 1970-01-01, as isoweekday() counts."""
_TWO_HALVES = struct.Struct("!QQ").pack


class Dice(random.Random):
    """Random values of the kinds that rows need."""

    def id_at(self, seconds: int) -> bytes:
        """The bytes of a uuid of version 7 layout with that time, in whole seconds since 1970."""
        return _TWO_HALVES(seconds * 1000 << 16 | 0x7000 | self.getrandbits(12), 0b10 << 62 | self.getrandbits(62))

    def uuid_at(self, at: datetime) -> UUID:
        """The same as a uuid."""
        return UUID(bytes=self.id_at(int(at.timestamp())))

    def time_between(self, start: datetime, end: datetime) -> datetime:
        """A whole second between two times."""
        return start + timedelta(seconds=self.below(max(int((end - start).total_seconds()), 1)))

    def working_time(self, at: datetime) -> datetime:
        """A time on that day or the Monday after it, between 8 and 17 h."""
        return datetime.fromtimestamp(self.working_seconds(int(at.timestamp())), UTC)

    def working_seconds(self, seconds: int) -> int:
        """The same in seconds since 1970."""
        day = seconds // _DAY_SECONDS
        weekday = (day + _THURSDAY - 1) % 7 + 1
        day += 8 - weekday if weekday > 5 else 0
        return day * _DAY_SECONDS + 8 * 3600 + self.below(9 * 3600)

    def below(self, bound: int) -> int:
        """A whole number from 0 to below `bound`, in a fifth of the time that randrange() takes."""
        return int(self.random() * bound)

    def happens(self, rate: float) -> bool:
        """True with that probability."""
        return self.random() < rate


def dice_for(*names: object) -> Dice:
    """Returns dice that fall the same way for the same names."""
    return Dice(" ".join(map(str, names)))
