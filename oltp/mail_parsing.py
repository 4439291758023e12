"""What a raw message says about itself: sender, recipient, subject, time, thread, and whether it is a bounce or automatic.

Belongs here: reading headers with Python's email package and its modern policy. Does not belong here: bodies and
attachments (their bytes are never decoded here), what the message means for a tenant (intake_mapping.py).

Only the header block is parsed, so that a large attachment costs nothing. Texts go to PostgreSQL: NUL, which it cannot
store, becomes U+FFFD, other control characters a space; the original bytes stay what they are. Header bytes that are no
UTF-8 are read as Windows-1252, the most common culprit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import getaddresses, parsedate_to_datetime

from penguinmails.oltp.mail_bounces import Bounce, find_bounce
from penguinmails.stack.errors import InputError

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
"""Mail is younger than this; a Date before it is a broken clock."""
FUTURE_TOLERANCE = timedelta(hours=26)
"""How far in the future a Date may lie: wrong time zones, not wrong years."""
MAX_HEADER_BYTES = 1024 * 1024
_MAX_FIELD_CHARACTERS = 16_000
_MAX_SUBJECT_CHARACTERS = 500
_MAX_MESSAGE_ID_CHARACTERS = 998
_MAX_THREAD_HEADERS = 50
_POLICY = policy.default.clone(raise_on_defect=False)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n|\r\r")
_KNOWN_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "subject",
        "date",
        "message-id",
        "received",
        "return-path",
        "sender",
        "delivered-to",
        "mime-version",
    ]
)
_ADDRESS = re.compile(
    r"[^\s@<>()\[\],;:\\\"\x00-\x20\x7f\ufffd]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)*[^\W_](?:[\w-]{0,61}[^\W_])?"
)
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")
_CONTROL = re.compile(r"[\x01-\x1f\x7f\u2028\u2029]+")
_AUTOMATIC_SUBJECT = re.compile(
    r"(?:out of (?:the )?office|automatic reply|auto(?:matic)?[- ]?reply|autoreply|auto:)", re.IGNORECASE
)
_PARSER_FAILURES = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError, MessageError)
"""What the email package is known to raise on headers that are broken badly enough."""


class NotMail(InputError):
    """The bytes are no message."""

    def __init__(self, reason: str) -> None:
        super().__init__("item", f"is no message ({reason})", "Look at it with 'penguinmails oltp set-aside'.")
        self.reason = reason

    def __reduce__(self) -> tuple[type[NotMail], tuple[str]]:  # type: ignore[override]
        return type(self), (self.reason,)


@dataclass(frozen=True)
class ParsedMail:
    """What a message says about itself.

    Args:
        message_id_header: Message-ID, angle brackets included; None when there is none.
        from_email: sender, lower case; None when it names no usable address.
        from_name: sender's display name.
        to_email: first usable recipient, lower case.
        to_name: that recipient's display name.
        subject: decoded, at most 500 characters.
        at: when it was sent: Date, else Received, else the time of loading.
        received_at: time of the topmost Received; None when there is none, or it lies before `at`.
        thread_headers: Message-IDs it answers, nearest first.
        message_type: email, bounce or auto_reply.
        bounce: particulars of a bounce.
    """

    message_id_header: str | None
    from_email: str | None
    from_name: str
    to_email: str | None
    to_name: str
    subject: str
    at: datetime
    received_at: datetime | None
    thread_headers: tuple[str, ...]
    message_type: str
    bounce: Bounce | None


def parse_mail(raw: bytes, *, now: datetime) -> ParsedMail:
    """Reads the headers of a message.

    Args:
        raw: the whole message; line ends of any kind.
        now: time of loading: the last resort for the time of the message.

    Raises:
        NotMail: the bytes are empty or hold no header of mail.
    """
    headers = _headers(raw)
    from_email, from_name = _first_address(headers, "from", "sender", "return-path")
    to_email, to_name = _first_address(headers, "to", "delivered-to", "x-original-to", "cc")
    received_times = _received_times(headers, now)
    at = _plausible(_date(headers.texts("date")), now) or next(iter(received_times), None) or now
    received_at = next((time for time in received_times if time >= at), None)
    subject = " ".join(_decode_words(headers.text("subject")).split())
    bounce = find_bounce(raw, headers.text("content-type"), from_email or "", subject)
    return ParsedMail(
        message_id_header=_message_id(headers),
        from_email=from_email,
        from_name=from_name,
        to_email=to_email,
        to_name=to_name,
        subject=subject[:_MAX_SUBJECT_CHARACTERS],
        at=at,
        received_at=received_at,
        thread_headers=_thread(headers, bounce),
        message_type="bounce" if bounce else "auto_reply" if _is_automatic(headers, subject) else "email",
        bounce=bounce,
    )


def clean_text(text: str) -> str:
    """Returns text that PostgreSQL can store: no NUL, no lone surrogate, no control characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        octets = text.encode("utf-8", "surrogateescape") if _only_escaped(text) else text.encode("utf-8", "replace")
        text = _decode(octets)
    return _CONTROL.sub(" ", text.replace("\0", "\ufffd")).strip()


def usable_address(text: str) -> str | None:
    """Returns the address in lower case, or None when it is none that can be stored and compared."""
    address = clean_text(text).strip("<> ")
    if len(address) > 254 or not _ADDRESS.fullmatch(address):
        return None
    lower = address.lower()
    if not address.isascii() and lower != address:
        return None  # PostgreSQL and Python need not agree on the lower case of other alphabets
    return lower


class _Headers:
    """Header access that survives whatever the email package makes of broken ones."""

    def __init__(self, message: EmailMessage) -> None:
        self._message = message

    def raw_texts(self, name: str) -> list[str]:
        """Undecoded values, surrogates for bytes that are not ASCII."""
        wanted = name.lower()
        return [value for key, value in self._message.raw_items() if key.lower() == wanted]

    def texts(self, name: str) -> list[str]:
        """Clean values; encoded words are left as they are."""
        return [clean_text(str(value)[:_MAX_FIELD_CHARACTERS]) for value in self.raw_texts(name)]

    def text(self, name: str) -> str:
        """The first value, clean; empty when there is none."""
        return next(iter(self.texts(name)), "")


def _headers(raw: bytes) -> _Headers:
    start = len(raw) - len(raw.lstrip(b"\r\n")) if raw[:1] in (b"\r", b"\n") else 0
    if not raw[start : start + 4096].strip():
        raise NotMail("empty")
    end = _END_OF_HEADERS.search(raw, start, start + MAX_HEADER_BYTES)
    block = raw[start : end.start() if end else start + MAX_HEADER_BYTES]
    try:
        message = BytesParser(policy=_POLICY).parsebytes(block + b"\n\n", headersonly=True)
    except _PARSER_FAILURES:
        raise NotMail("unparsable") from None
    if not _KNOWN_HEADERS & {key.lower() for key in message.keys()}:  # noqa: SIM118  # a message is no mapping
        raise NotMail("no_headers")
    return _Headers(message)


def _first_address(headers: _Headers, *names: str) -> tuple[str | None, str]:
    for name in names:
        for value in headers.texts(name):
            try:
                found = getaddresses([value])
            except _PARSER_FAILURES:
                found = []
            for display_name, text in found:
                address = usable_address(text)
                if address:
                    return address, _decode_words(display_name)[:200]
            inside = _ADDRESS.search(value)
            address = usable_address(inside[0]) if inside else None
            if address:
                return address, ""
    return None, ""


def _received_times(headers: _Headers, now: datetime) -> list[datetime]:
    """Plausible times of the Received headers, the last stop first."""
    times = [_plausible(_date([value.rpartition(";")[2]]), now) for value in headers.texts("received")]
    return [time for time in times if time]


def _date(values: list[str]) -> datetime | None:
    for value in values:
        try:
            date = parsedate_to_datetime(value)
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (*_PARSER_FAILURES, OverflowError):
            continue
    return None


def _plausible(date: datetime | None, now: datetime) -> datetime | None:
    return date if date and EARLIEST <= date <= now + FUTURE_TOLERANCE else None


def _message_id(headers: _Headers) -> str | None:
    text = headers.text("message-id")
    match = _MESSAGE_ID.search(text)
    found = match[0] if match else text
    return found[:_MAX_MESSAGE_ID_CHARACTERS] or None


def _thread(headers: _Headers, bounce: Bounce | None) -> tuple[str, ...]:
    candidates = [bounce.original_message_id] if bounce and bounce.original_message_id else []
    candidates += _MESSAGE_ID.findall(headers.text("in-reply-to"))
    candidates += reversed(_MESSAGE_ID.findall(headers.text("references")))
    short = (candidate[:_MAX_MESSAGE_ID_CHARACTERS] for candidate in candidates)
    return tuple(dict.fromkeys(short))[:_MAX_THREAD_HEADERS]


def _is_automatic(headers: _Headers, subject: str) -> bool:
    """RFC 3834's own header first, then what older programs set."""
    if headers.text("auto-submitted").lower().startswith("auto-replied"):
        return True
    if headers.raw_texts("x-autoreply") or headers.raw_texts("x-autorespond"):
        return True
    return headers.text("precedence").lower() == "auto_reply" or bool(_AUTOMATIC_SUBJECT.match(subject))


def _decode_words(text: str) -> str:
    """Decodes encoded words (RFC 2047) as far as they can be."""
    if "=?" not in text:
        return text
    try:
        return clean_text(str(_POLICY.header_factory("subject", text)))
    except _PARSER_FAILURES:
        return text


def _decode(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _only_escaped(text: str) -> bool:
    """True when every surrogate stands for a byte, as the parser writes bytes that are not ASCII."""
    return all("\udc80" <= char <= "\udcff" for char in text if "\ud800" <= char <= "\udfff")
