"""Retention classes: which messages are kept alike.

Belongs here: the one definition of the classes and how long each is kept unless a tenant's policy says otherwise.
Does not belong here: deleting anything (retention.py).
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_KEEP_DAYS = 2555
"""Seven years: what the product promises."""


@dataclass(frozen=True)
class RetentionClass:
    """One class."""

    name: str
    description: str
    keep_days: int = DEFAULT_KEEP_DAYS


OUTBOUND = RetentionClass("outbound", "Mail a tenant sent.")
INBOUND = RetentionClass("inbound", "Mail a tenant received from people.")
AUTOMATIC = RetentionClass("automatic", "Bounces and automatic replies.")
WARMUP = RetentionClass("warmup", "Mail exchanged only to warm mailboxes up.")

RETENTION_CLASSES = {item.name: item for item in (OUTBOUND, INBOUND, AUTOMATIC, WARMUP)}

_BY_MESSAGE_TYPE = {"bounce": AUTOMATIC, "auto_reply": AUTOMATIC, "warmup": WARMUP}


def retention_class(direction: str, message_type: str) -> RetentionClass:
    """Returns the class of a message by its direction (inbound, outbound) and type (email, bounce, auto_reply, warmup)."""
    return _BY_MESSAGE_TYPE.get(message_type, INBOUND if direction == "inbound" else OUTBOUND)
