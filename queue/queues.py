"""The queues of the product, declared once.

Belongs here: names, priorities, time limits, attempts, bands. Does not belong here: what a job of a queue does (handlers).
`schema.migrate` writes them into `job_queues`; everything that runs reads that table, so that operators may add queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

HIGHEST_PRIORITY = 0
LOWEST_PRIORITY = 1000
HIGH_PRIORITY_ATTEMPTS = 5
"""A job of the high band is tried at least this often."""


class Band(StrEnum):
    """Three lists a queue in Redis; lower priority numbers run sooner."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def priorities(self) -> tuple[int, int]:
        """The lowest and highest priority number of the band, both included."""
        return {
            Band.HIGH: (HIGHEST_PRIORITY, 50),
            Band.NORMAL: (51, 150),
            Band.LOW: (151, LOWEST_PRIORITY),
        }[self]


_LAST_PRIORITIES = tuple((band.priorities[1], band) for band in Band)


@cache
def band_of(priority: int) -> Band:
    """Returns the band that a priority number falls into."""
    return next(band for last_priority, band in _LAST_PRIORITIES if priority <= last_priority)


@dataclass(frozen=True)
class QueueDefinition:
    """One queue.

    Args:
        name: what producers, workers and Redis keys call it.
        default_priority: of jobs that name none.
        timeout_seconds: how long one attempt may run.
        max_attempts: how often a job of the normal or low band is tried.
        description: what its jobs do, for people.
    """

    name: str
    default_priority: int
    timeout_seconds: int
    description: str
    max_attempts: int = 3


QUEUES = (
    QueueDefinition("email:processing", 75, 60, "Takes inbound mail into the messaging tables and the content tier."),
    QueueDefinition("email-sending", 100, 30, "Sends one message through SMTP."),
    QueueDefinition("analytics:daily-aggregate", 100, 300, "Rolls up the analytics of one day."),
    QueueDefinition("analytics:campaign-aggregate", 100, 300, "Rolls up the analytics of one campaign."),
    QueueDefinition("analytics:billing-calculate", 100, 300, "Rolls up what a billing period is charged for."),
    QueueDefinition("warmup:process", 75, 120, "One step of warming a mailbox up."),
    QueueDefinition("bounce:process", 75, 60, "Marks message and lead after a bounce."),
    QueueDefinition("webhook:process", 100, 15, "Posts one signed event to a tenant's endpoint."),
    QueueDefinition("platform:ping", 100, 10, "Does nothing; proves the path from end to end."),
)
