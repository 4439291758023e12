"""Bounces: delivery status notifications (RFC 3464) and those that look like it.

Belongs here: telling that a message is a bounce, of what, and how hard. Does not belong here: what follows from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_REPORT_BYTES = 256 * 1024
"""How much of a bounce is looked at: the report comes before the original message."""
_REPORT = re.compile(r"multipart/report\b.*report-type\s*=\s*\"?delivery-status", re.IGNORECASE | re.DOTALL)
_DAEMON = re.compile(r"^(mailer-daemon|postmaster)@", re.IGNORECASE)
_SUBJECT = re.compile(
    r"undeliver|delivery (?:status|failure|has failed|notification)|returned mail|failure notice|mail delivery failed",
    re.IGNORECASE,
)
_STATUS = re.compile(rb"^Status:\s*([245])\.(\d{1,3})\.(\d{1,3})", re.IGNORECASE | re.MULTILINE)
_DELAYED = re.compile(rb"^Action:\s*delayed", re.IGNORECASE | re.MULTILINE)
_ORIGINAL_ID = re.compile(rb"^Message-ID:\s*(<[^<>\s]{1,990}>)", re.IGNORECASE | re.MULTILINE)
_RECIPIENT = re.compile(
    rb"^(?:Final|Original)-Recipient:\s*rfc822;\s*<?([^\s<>]{3,254})>?", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Bounce:
    """What a bounce says.

    Args:
        bounce_type: hard (5.x.x: will never arrive) or soft (may arrive later).
        code: enhanced status code; empty when it gives none.
        original_message_id: Message-ID of the message that bounced; empty when it is not said.
        recipient: address that could not be reached; empty when it is not said.
    """

    bounce_type: str
    code: str
    original_message_id: str
    recipient: str


def find_bounce(raw: bytes, content_type: str, from_email: str, subject: str) -> Bounce | None:
    """Returns what the bounce says, or None when the message is none."""
    is_report = bool(_REPORT.search(content_type))
    if not is_report and not (_DAEMON.match(from_email) and _SUBJECT.search(subject)):
        return None
    # The report's fields stand at the start of a line and in 7 bits (RFC 3464, 2.1); what follows the message's own
    # headers is searched as it is, so that broken MIME does not hide them.
    report = raw[:MAX_REPORT_BYTES].replace(b"\r\n", b"\n")
    body = report.partition(b"\n\n")[2]
    status = _STATUS.search(body)
    if status and status[1] == b"2":
        return None  # a report of success
    recipient = _RECIPIENT.search(body)
    original = _ORIGINAL_ID.search(body)
    hard = status[1] == b"5" if status else not _DELAYED.search(body)
    return Bounce(
        bounce_type="hard" if hard else "soft",
        code=b".".join(status.groups()).decode() if status else "",
        original_message_id=original[1].decode("ascii", "replace") if original else "",
        recipient=recipient[1].decode("ascii", "replace").lower() if recipient else "",
    )
