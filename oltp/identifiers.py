"""Ids that are the same whenever they are made from the same things.

Belongs here: uuids of version 7 layout made from a time and names. Does not belong here: random ids (app.uuidv7() in SQL).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

FIXED_TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""Time part of ids of things that have no time of their own."""


def time_ordered_uuid(at: datetime, *names: str | bytes) -> UUID:
    """Returns a uuid of version 7 layout (RFC 9562): `at` in milliseconds, then 74 bits of the digest of `names`.

    Args:
        at: time part; earlier than 1970 counts as 1970.
        names: what tells this id from others of the same time; their order and borders count.
    """
    milliseconds = max(int(at.timestamp() * 1000), 0)
    digest = hashlib.sha256()
    for name in names:
        part = name if isinstance(name, bytes) else name.encode("utf-8", "backslashreplace")
        digest.update(len(part).to_bytes(8, "big") + part)
    noise = int.from_bytes(digest.digest()[:10], "big")
    high = milliseconds << 16 | 0x7000 | noise >> 68
    low = 0b10 << 62 | noise & (1 << 62) - 1
    return UUID(int=high << 64 | low)
