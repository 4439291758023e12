"""The limits by which marts and report judge mailboxes and tenants, each said once.

SELECTs, columns, captions, docs and tests take them from here; in an `.sql` file a limit stands as its name in braces. Belongs
here: the numbers, and how they are said to people. Does not belong here: the judging itself (sql/), limits of the machinery.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PERIOD_DAYS = 30
"""A mailbox or a tenant is judged by as many days, the last of which is its last day of sending."""
BOUNCE_SHARE, COMPLAINT_SHARE = 0.05, 0.003
"""Of the messages sent, of those delivered: what large receivers act on."""
OPEN_SHARE = 0.2
"""Of the messages delivered: more opens do not raise the health score."""
BOUNCE_POINTS, COMPLAINT_POINTS, OPEN_POINTS = 50, 30, 20
"""What each of them can add to the health score: 100 together."""
LEAST_HEALTH_POINTS = 80
"""Mailboxes below it need rest."""
WARM_UP_DAYS = 28
"""Days with warm-up mail after which a mailbox is warmed up."""
EXCELLENT_RATIO, GOOD_RATIO, MONITOR_RATIO = 2, 1.5, 1
"""A tenant's price / cost must be above it."""

LIMITS: Mapping[str, float] = MappingProxyType(
    {
        "period_days": PERIOD_DAYS,
        "bounce_share": BOUNCE_SHARE,
        "complaint_share": COMPLAINT_SHARE,
        "open_share": OPEN_SHARE,
        "bounce_points": BOUNCE_POINTS,
        "complaint_points": COMPLAINT_POINTS,
        "open_points": OPEN_POINTS,
        "least_health_points": LEAST_HEALTH_POINTS,
        "warm_up_days": WARM_UP_DAYS,
        "excellent_ratio": EXCELLENT_RATIO,
        "good_ratio": GOOD_RATIO,
        "monitor_ratio": MONITOR_RATIO,
    }
)
"""By the names that SELECTs use."""


def percent(share: float) -> str:
    """Returns a share as people read it: 0.003 is `0.3 %`."""
    return f"{100 * share:g} %"


HEALTH_SCORE = (
    f"{BOUNCE_POINTS} x max(0, 1 - bounce rate / {percent(BOUNCE_SHARE)})"
    f" + {COMPLAINT_POINTS} x max(0, 1 - complaint rate / {percent(COMPLAINT_SHARE)})"
    f" + {OPEN_POINTS} x min(1, open rate / {percent(OPEN_SHARE)}), rounded"
)
WARM_UP_PROGRESS = f"days on which warm-up mail was sent / {WARM_UP_DAYS}, at most 100, rounded down"
TENANT_HEALTH = (
    f"excellent above {EXCELLENT_RATIO:g}, good above {GOOD_RATIO:g}, monitor above {MONITOR_RATIO:g}, otherwise critical; "
    "excellent without cost"
)
"""Of price / cost."""
