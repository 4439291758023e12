"""Errors of the content tier: each names the storage key or tenant (ids only), the problem and the way out.

Belongs here: the classes. Does not belong here: addresses, subjects, bodies, keys.
"""

from __future__ import annotations

from penguinmails.stack.errors import InputError, IntegrityError, ServerError, SettingsError


class ContentUnknown(InputError):
    """No message is known under this storage key or message id."""


class ContentGone(InputError):
    """The message was deleted or erased; that is final or can be undone, as the problem says."""


class ContentMissing(IntegrityError):
    """The index knows the message, but neither the object store nor the hand-over area has it."""


class ContentDamaged(IntegrityError):
    """What the object store holds is not what was stored."""


class TenantKeyMissing(SettingsError):
    """A tenant's key is not where keys are kept, although messages were encrypted with it."""


class TenantKeyWrong(SettingsError):
    """A tenant's key is not the one its messages were encrypted with."""


class PackMalformed(IntegrityError):
    """The bytes are not a whole pack of a known format."""


class PackLost(IntegrityError):
    """A pack that was being built was taken from its builder; its messages are handed over again."""


class AttachmentLost(PackLost):
    """An attachment that messages of the pack share was erased while the pack was built; building it again succeeds."""


class SealingProcessEnded(ServerError):
    """A process that seals messages for a hand-over ended before its work did; nothing was stored of it."""

    @classmethod
    def with_code(cls, exit_code: int | None) -> SealingProcessEnded:
        """Returns the error for a process that ended with this exit code (a signal's number when negative)."""
        how = "does not answer" if exit_code is None else f"ended (exit code {exit_code})"
        return cls("process that seals messages", how, "Make room in memory, then run again: nothing is lost.")


class HandOverStopped(SealingProcessEnded):
    """The hand-over was stopped while this was still to be sealed: the reason is another error."""

    def __init__(self) -> None:
        super().__init__("hand-over", "was stopped", "Run it again for the rest: nothing is lost.")
