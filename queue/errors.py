"""Errors of the queue tier.

Belongs here: every error it raises on purpose. Does not belong here: how a handler's failure is retried (outcomes.py).
"""

from __future__ import annotations

from penguinmails.stack.errors import InputError, PlatformError, ServerError, SettingsError


class UnknownQueue(InputError):
    """There is no queue of this name."""


class PayloadRefused(InputError):
    """A payload holds what no payload may hold, or too much of it."""


class JobRefused(InputError):
    """A job's priority, time, key or number of attempts is not acceptable."""


class HandlerMistaken(SettingsError):
    """A handler's registration cannot be used."""


class FastLaneUnsafe(SettingsError):
    """Redis is configured so that it would lose hand-offs."""


class FastLaneUnavailable(ServerError):
    """Redis does not answer or refuses to write; jobs go straight through PostgreSQL meanwhile."""


class SessionShared(SettingsError):
    """The sessions of the queue's processes would be mixed up with others'."""


class AddressUnusable(InputError):
    """Nothing can be served on this host and port."""


class OwnershipLost(PlatformError):
    """The job was taken away (its lease ran out, it was cancelled): nothing this run does may count any more."""


class PermanentFailure(PlatformError):
    """A handler raises this when trying again cannot succeed: the job becomes a dead letter at once."""
