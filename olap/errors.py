"""What can go wrong in this tier, one class each. Belongs here: nothing else."""

from __future__ import annotations

from penguinmails.stack.errors import InputError, IntegrityError, ServerError


class BuildBusy(ServerError):
    """Another process is building or publishing the marts and did not finish in the time we were willing to wait."""


class SourceUnavailable(ServerError):
    """The operational database cannot be read."""


class CursorUnusable(IntegrityError):
    """The operational database is not the one, or not the state of it, that the last batch was read from."""


class LandingDamaged(IntegrityError):
    """A file of the landing zone is missing or is not what its manifest says."""


class ReconciliationFailed(IntegrityError):
    """The marts to be published disagree with the operational database; nothing was published."""


class NothingPublished(InputError):
    """No marts have been published yet."""


class StatementRefused(InputError):
    """A statement that analysts may not run, or that DuckDB cannot."""


class StorageFailed(ServerError):
    """The folder of the marts cannot be written or read: no room, no right, or a damaged build file."""


class EngineFailed(ServerError):
    """The distributed engine cannot be reached or cannot do what it is asked."""
