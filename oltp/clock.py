"""Time, injected wherever logic depends on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present time, UTC."""


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)
