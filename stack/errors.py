"""Errors people can act on: each names the thing, what is wrong with it, and the way out.

Never put a secret, an address or a body into any of the three.
"""

from __future__ import annotations


class PlatformError(Exception):
    """Base of every error this platform raises on purpose.

    Args:
        thing: what the error is about (a setting, a table and column, a file, an object key).
        problem: what is wrong with it.
        remedy: what the reader can do about it.
    """

    exit_code = 1
    """What the `penguinmails` command exits with when this error ends it."""

    def __init__(self, thing: str, problem: str, remedy: str) -> None:
        super().__init__(f"{thing}: {problem}. {remedy}")
        self.thing = thing
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[PlatformError], tuple[str, str, str]]:
        return type(self), (self.thing, self.problem, self.remedy)


class InputError(PlatformError):
    """What a person or a caller gave cannot be used; trying the same again cannot succeed."""

    exit_code = 2


class SettingsError(InputError):
    """A setting is missing, malformed or contradicts another."""


class ServerError(PlatformError):
    """A server could not be started or reached; trying again later may succeed."""

    exit_code = 3


class IntegrityError(PlatformError):
    """Stored data is not what it must be; nothing was changed because of it."""

    exit_code = 4
