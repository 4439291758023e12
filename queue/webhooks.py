"""Handler of `webhook:process`: one signed POST to a tenant's endpoint.

Signed as Standard Webhooks 1.0 asks for (headers webhook-id, webhook-timestamp, webhook-signature), with a key of the
tenant's own. Sent to public addresses only: the name is resolved once, every address is judged, and the connection goes to
the address that was judged, so that no later answer of a name server can lead it inside. Redirects are not followed.

Belongs here: judging, signing, posting. Does not belong here: which events go where.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from penguinmails.queue.errors import PermanentFailure
from penguinmails.queue.handlers import Handler, JobContext
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import ServerError
from penguinmails.stack.key_files import write_once
from penguinmails.stack.stores import resolve

QUEUE_NAME = "webhook:process"
_TIMEOUT_SECONDS = 10.0
_TRY_AGAIN = frozenset({408, 425, 429})
"""Answers below 500 that may become better."""
_KEY_BYTES = 32
_VISIBLE = re.compile(r"[!-~]*")


class EndpointUnavailable(ServerError):
    """The endpoint did not take the event now."""


class WebhookEvent(BaseModel):
    """Payload: where to, and what happened. `data` holds ids and small values only."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=2_000)]
    event_type: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,100}$")]
    occurred_at: AwareDatetime
    data: dict[str, JsonValue] = {}


@dataclass(frozen=True)
class WebhookSender:
    """Posts events.

    Args:
        master_key: the tenants' signing keys derive from it.
        allow_private: also posts to loopback and private addresses and without TLS: for tests on one machine only.
    """

    master_key: bytes
    allow_private: bool = False
    clock: Clock = utc_now

    def __repr__(self) -> str:
        return "WebhookSender()"

    def handle(self, event: WebhookEvent, context: JobContext) -> None:
        """Posts one event; a repetition carries the same webhook-id, so that the receiver can drop it.

        Raises:
            PermanentFailure: the job names no tenant, the address may not be called, or the endpoint refuses for good.
            EndpointUnavailable: it may take the event later.
        """
        tenant_id = context.job.tenant_id
        if tenant_id is None:
            raise PermanentFailure("job", "names no tenant", "Enqueue it with its tenant.")
        parts = _judge(event.url, allow_private=self.allow_private)
        address = _resolve(parts, allow_private=self.allow_private)
        body = orjson.dumps({"type": event.event_type, "timestamp": event.occurred_at, "data": event.data})
        key = signing_key(self.master_key, tenant_id)
        headers = signed_headers(key, context.idempotency_key, self.clock(), body)
        context.assert_owned()
        _judge_answer(_post(parts, address, body, headers))


def signing_key(master_key: bytes, tenant_id: UUID) -> bytes:
    """Returns the key of a tenant: what its endpoint checks signatures with."""
    return hmac.digest(master_key, b"webhook signing " + str(tenant_id).encode(), hashlib.sha256)


def signed_headers(key: bytes, webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Returns the headers of Standard Webhooks 1.0 for `body`."""
    timestamp = str(int(now.timestamp()))
    signature = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "content-type": "application/json",
        "user-agent": "PenguinMails-Webhook/1",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def load_master_key(folder: Path) -> bytes:
    """Returns the platform's webhook key, making it once; the file is 0600 and appears whole or not at all."""
    path = folder / "webhook.key"
    if not path.exists():
        write_once(path, secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()


def _handle(event: WebhookEvent, context: JobContext) -> None:
    WebhookSender(load_master_key(resolve().keys_folder)).handle(event, context)


WEBHOOK = Handler(QUEUE_NAME, WebhookEvent, _handle)


def _judge(url: str, *, allow_private: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("is no URL") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise _refused("is not https")
    if not parts.hostname or parts.username is not None or port == 0:
        raise _refused("names no host, or holds credentials")
    if not _VISIBLE.fullmatch(parts.path + parts.query):
        raise _refused("holds characters that have to be written as %XX")
    return parts


def _resolve(parts: SplitResult, *, allow_private: bool) -> str:
    """Returns an address of the host; refuses when only one of them leads inside."""
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise _unavailable("its host name has no address now") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private and not all(_is_public(address) for address in addresses):
        raise _refused("leads to an address that is not public")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if embedded is not None and not _is_public(str(embedded)):
            return False
        if parsed in ipaddress.ip_network("64:ff9b::/96") and not _is_public(
            str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        ):
            return False
    return parsed.is_global and not parsed.is_multicast


def _post(parts: SplitResult, address: str, body: bytes, headers: dict[str, str]) -> int:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _Connection(parts, address)
    try:
        connection.request("POST", path, body=body, headers=headers)
        return connection.getresponse().status
    except ssl.SSLCertVerificationError:
        raise PermanentFailure("webhook endpoint", "has no valid certificate", "The tenant has to mend it.") from None
    except (OSError, http.client.HTTPException) as error:
        raise _unavailable(f"it does not answer ({type(error).__name__})") from None
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """Connects to the address that was judged, and speaks TLS with the name it was asked for."""

    def __init__(self, parts: SplitResult, address: str) -> None:
        super().__init__(str(parts.hostname), _port(parts), timeout=_TIMEOUT_SECONDS)
        self._address = address
        self._is_tls = parts.scheme == "https"
        self.default_port = 443 if self._is_tls else 80  # named in the header Host only when it is another one

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock: Any = plain
        if self._is_tls:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def _judge_answer(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in _TRY_AGAIN:
        raise _unavailable(f"it answered {status}")
    raise PermanentFailure("webhook endpoint", f"answered {status}", "The tenant has to correct its URL or endpoint.")


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _refused(problem: str) -> PermanentFailure:
    return PermanentFailure("webhook URL", problem, "The tenant has to give a public https address.")


def _unavailable(problem: str) -> EndpointUnavailable:
    return EndpointUnavailable("webhook endpoint", problem, "It is tried again later.")
