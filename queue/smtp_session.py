"""One conversation with a mail server.

Belongs here: connecting, naming sender and recipient, giving the message, reading replies. Does not belong here: what follows
from a reply (email_sending.py).
"""

from __future__ import annotations

import ipaddress
import re
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from pydantic import SecretStr

from penguinmails.queue.errors import PermanentFailure
from penguinmails.stack.errors import ServerError, SettingsError

_TIMEOUT_SECONDS = 10.0
_ENHANCED = re.compile(rb"^([245]\.\d{1,3}\.\d{1,3})\b")
_NO_SUCH_RECIPIENT = frozenset({550, 551, 553})
Result = TypeVar("Result")


class SmtpUnavailable(ServerError):
    """The mail server did not take the message now; it certainly was not sent."""


class Security(StrEnum):
    """How the connection is protected."""

    TLS = "tls"
    """From the first byte (port 465)."""
    STARTTLS = "starttls"
    """After the greeting; without it nothing is sent."""
    NONE = "none"
    """Not at all: only on the same machine."""


@dataclass(frozen=True)
class SmtpServer:
    """The server of the sending mailbox.

    Raises:
        SettingsError: it is to be talked to without protection, and is on another machine.
    """

    host: str
    port: int
    security: Security = Security.STARTTLS
    username: str | None = None
    password: SecretStr | None = None

    def __post_init__(self) -> None:
        if self.security is Security.NONE and not _is_loopback(self.host):
            raise SettingsError("mail server", "is elsewhere and has no TLS", "Use security tls or starttls.")


@dataclass(frozen=True)
class Reply:
    """What the server said.

    Args:
        code: three digits (RFC 5321).
        status: enhanced status code (RFC 3463), empty when it gave none.
    """

    code: int
    status: str = ""

    @property
    def is_refusal(self) -> bool:
        """It will not take the message, now or ever."""
        return self.code >= 500

    @property
    def is_not_now(self) -> bool:
        """It may take the message later."""
        return 400 <= self.code < 500

    @property
    def names_no_mailbox(self) -> bool:
        """The recipient's address leads nowhere; what is refused for its content or its sender says nothing about that."""
        if self.status:
            return self.status.startswith("5.1.") or self.status == "5.2.1"
        return self.code in _NO_SUCH_RECIPIENT


class SmtpSession:
    """One SMTP conversation. What fails before `give` was certainly not sent."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    def __enter__(self) -> SmtpSession:
        self._smtp = self._attempt(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._smtp.close()

    def offer(self, sender: str, recipient: str) -> Reply:
        """Names sender and recipient; returns the server's reply when it takes or refuses them for good.

        Raises:
            SmtpUnavailable: not now.
        """
        reply = _reply(self._attempt(lambda: self._smtp.mail(sender)))
        if reply.code < 400:
            reply = _reply(self._attempt(lambda: self._smtp.rcpt(recipient)))
        if reply.is_not_now:
            raise not_now(reply)
        return reply

    def give(self, raw_message: bytes) -> Reply:
        """Gives the message; returns the reply.

        Raises:
            PermanentFailure: the connection broke before the reply, so nobody knows.
        """
        try:
            return _reply(self._smtp.data(raw_message))
        except smtplib.SMTPDataError as refusal:  # the server would not even begin
            return _reply((refusal.smtp_code, refusal.smtp_error))
        except (OSError, smtplib.SMTPException):
            raise PermanentFailure(
                "message", "was given to the server, which did not answer", "Find out whether it arrived."
            ) from None

    def _open(self) -> smtplib.SMTP:
        server, context = self._server, ssl.create_default_context()
        smtp: smtplib.SMTP
        if server.security is Security.TLS:
            smtp = smtplib.SMTP_SSL(server.host, server.port, timeout=_TIMEOUT_SECONDS, context=context)
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_SECONDS)
        try:
            if server.security is Security.STARTTLS:
                smtp.starttls(context=context)
            if server.username is not None and server.password is not None:
                smtp.login(server.username, server.password.get_secret_value())
            smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _attempt(self, step: Callable[[], Result]) -> Result:
        try:
            return step()
        except smtplib.SMTPAuthenticationError as refusal:
            raise PermanentFailure(
                "mailbox", f"was refused by its server ({refusal.smtp_code})", "Correct its credentials, then replay."
            ) from None
        except ssl.SSLCertVerificationError:
            raise PermanentFailure(
                "mail server", "has no valid certificate", "Correct its name or its certificate, then replay."
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise SmtpUnavailable(
                "mail server", f"does not do its part ({type(error).__name__})", "It is tried again later."
            ) from None


def not_now(reply: Reply) -> SmtpUnavailable:
    """Returns the error of a reply that asks to come back later."""
    return SmtpUnavailable("mail server", f"answered {reply.code} {reply.status}".rstrip(), "It is tried again later.")


def _reply(answer: tuple[int, bytes | str]) -> Reply:
    """Keeps the codes only: the text of a reply often quotes the recipient."""
    code, text = answer
    found = _ENHANCED.match(text.encode("ascii", "replace") if isinstance(text, str) else text)
    return Reply(code, found[1].decode() if found else "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
