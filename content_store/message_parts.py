"""Parts of a raw message: headers, text, HTML, attachments, as people and programs ask for them.

Belongs here: taking a message apart, however broken it is. Does not belong here: finding it (reading.py).
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from typing import cast

from penguinmails.stack.errors import InputError

_ATTACHED = re.compile(rb"content-disposition\s*:|content-type\s*:(?:[^\n]|\n[ \t])*?name\*?[0-9*]*\s*=")
_PARSER_FAILURES = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError, MessageError)
"""What the email package is known to raise on mail that is broken badly enough."""
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
    with _typed_errors():
        part = _parsed(raw).get_body(preferencelist=(kind,))
        if part is not None:
            return _decoded(cast("EmailMessage", part))
    raise InputError("message", f"has no {kind} part", "Ask for another part, or for the whole message (eml).")


def attachments(raw: bytes) -> list[Attachment]:
    """Returns the attachments in their order in the message.

    Raises:
        InputError: the message is too broken to be taken apart.
    """
    with _typed_errors():
        return [
            _attachment(part)
            for part in _parsed(raw).walk()
            if not part.is_multipart()
            and (part.get_content_disposition() == "attachment" or part.get_filename() is not None)
        ]


def may_have_attachments(raw: bytes) -> bool:
    """Returns False where `attachments` is certain to find none; much cheaper than parsing."""
    lowered = raw.lower()
    return (b"name" in lowered or b"disposition" in lowered) and _ATTACHED.search(lowered) is not None


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


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except _PARSER_FAILURES as error:
        raise InputError(
            "message", f"is too broken to be taken apart ({type(error).__name__})", "Ask for the whole message (eml)."
        ) from error


def _attachment(part: EmailMessage) -> Attachment:
    content = part.get_payload(decode=True)
    return Attachment(
        part.get_filename(),
        part.get_content_type(),
        "inline" if part.get_content_disposition() == "inline" else "attachment",
        content if isinstance(content, bytes) else b"",
    )


def _parsed(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.default)


def _decoded(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    octets = content if isinstance(content, bytes) else b""
    try:
        return octets.decode(part.get_content_charset("utf-8"), errors="replace")
    except LookupError:  # a charset that nobody knows
        return octets.decode("latin-1")
