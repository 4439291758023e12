"""A real SMTP server on loopback, for the tests of sending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Inbox:
    """The server's side: what it took, and what it answers."""

    messages: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    recipient_answer: str = ""
    data_answer: str = ""

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if self.recipient_answer:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(envelope.content)
        self.recipients += envelope.rcpt_tos
        if self.data_answer == "hang up":
            server.transport.abort()
        return self.data_answer or "250 OK"


class _OnAFreePort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    def stop(self, no_assert: bool = False) -> None:
        """Ends the server's thread, which from Python 3.12 on waits for every connection; nobody waits for that for ever."""
        thread, self._thread = self._thread, None
        self.loop.call_soon_threadsafe(self.cancel_tasks)
        if thread is not None:
            thread.join(20)
            assert no_assert or not thread.is_alive(), "a connection of the SMTP server is still open"


@contextmanager
def smtp_server(inbox: Inbox) -> Iterator[int]:
    """Serves until the end of the block; yields the port."""
    controller = _OnAFreePort(inbox, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()
