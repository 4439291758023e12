"""What `penguinmails doctor` finds: one line a question, with the way out where the answer is bad."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One answer of an examination.

    Args:
        name: what was looked at.
        ok: whether it is as it should be.
        detail: what was seen (versions, sizes, counts); no secrets, no personal data.
        remedy: what to do when it is not; empty when it is.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
