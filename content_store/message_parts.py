"""Parts of a raw message: headers, text, HTML, attachments, as people and programs ask for them.

Belongs here: taking a message apart, however broken it is. Does not belong here: finding it (reading.py).
"""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from email.message import EmailMessage
from typing import cast

from penguinmails.stack.errors import InputError

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class Attachment:
    """One attachment, decoded."""

    filename: str | None
    mime_type: str
    disposition: str
    """`inline` or `attachment`."""
    content: bytes


def headers(raw: bytes) -> bytes:
    """Returns the header block as it stands in the message."""
    end = _END_OF_HEADERS.search(raw)
    return raw[: end.end()] if end else raw


def body_text(raw: bytes, kind: str) -> str:
    """Returns the message's text; `kind` is `plain` or `html`.

    Raises:
        InputError: the message has no such part.
    """
    part = _parsed(raw).get_body(preferencelist=(kind,))
    if part is None:
        raise InputError("message", f"has no {kind} part", "Ask for another part, or for the whole message (eml).")
    return _decoded(cast("EmailMessage", part))


def attachments(raw: bytes) -> list[Attachment]:
    """Returns the attachments in their order in the message."""
    found = []
    for part in _parsed(raw).walk():
        disposition = part.get_content_disposition()
        if part.is_multipart() or (disposition != "attachment" and part.get_filename() is None):
            continue
        content = part.get_payload(decode=True)
        found.append(
            Attachment(
                part.get_filename(),
                part.get_content_type(),
                "inline" if disposition == "inline" else "attachment",
                content if isinstance(content, bytes) else b"",
            )
        )
    return found


def attachment(raw: bytes, number: int) -> Attachment:
    """Returns the attachment of that number, counted from 1.

    Raises:
        InputError: the message has fewer.
    """
    found = attachments(raw)
    if not 1 <= number <= len(found):
        raise InputError(
            f"attachment {number}", f"does not exist: the message has {len(found)}", "Give another number."
        )
    return found[number - 1]


def _parsed(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.default)


def _decoded(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    octets = content if isinstance(content, bytes) else b""
    try:
        return octets.decode(part.get_content_charset("utf-8"), errors="replace")
    except LookupError:  # a charset that nobody knows
        return octets.decode("latin-1")
