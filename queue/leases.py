"""The lease of a process: one row it renews while it lives.

Belongs here: registering, renewing, knowing for how long the lease may be trusted. Does not belong here: what happens to
the jobs of a process whose lease ran out (reaper.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from pydantic import SecretStr

from penguinmails.queue.configuration import Configuration
from penguinmails.queue.connections import Connection, open_protocol_connection
from penguinmails.stack.errors import ServerError
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "leases.sql")
_END_SECONDS = 30.0
"""How long a stopping process waits for a renewal under way."""


class Lease:
    """Registers this process under a new id and renews it from a thread of its own until `close`.

    Args:
        on_renewal: told after every renewal until when, on the monotonic clock, the lease may be trusted.
        busy: asked at every renewal how many handlers run.
        begins_anew: a process that owns no jobs (relay, reaper) need not stop when it was thought dead; it registers again.
    """

    def __init__(
        self,
        url: SecretStr,
        kind: str,
        configuration: Configuration,
        *,
        slots: int = 0,
        queue_names: Sequence[str] = (),
        on_renewal: Callable[[float], None] = lambda _: None,
        busy: Callable[[], int] = lambda: 0,
        begins_anew: bool = False,
    ) -> None:
        self.id: UUID = uuid4()
        self._kind = kind
        self._slots = slots
        self._queue_names = list(queue_names)
        self._begins_anew = begins_anew
        self._url = url
        self._configuration = configuration
        self._on_renewal = on_renewal
        self._busy = busy
        self._ended = threading.Event()
        self._trusted_until = 0.0
        sent = time.monotonic()
        self._connection: Connection | None = open_protocol_connection(url)
        try:
            self._register(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._trust(sent)
        self._thread = threading.Thread(target=self._keep, name=f"lease of {kind}", daemon=True)
        self._thread.start()

    def is_trusted(self) -> bool:
        """True while nobody can have declared this process dead."""
        return time.monotonic() < self._trusted_until

    def close(self) -> None:
        """Signs off. Everything the process had must have been finished or given back before."""
        self._ended.set()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():  # PostgreSQL does not answer it: the lease runs out by itself
            self._trusted_until = 0.0
            return
        try:
            connection = self._connection or open_protocol_connection(self._url)
            connection.execute(QUERIES["sign_off"], {"id": self.id})
            connection.close()
        except (psycopg.OperationalError, ServerError):
            return  # the lease runs out by itself
        finally:
            self._trusted_until = 0.0

    def _register(self, connection: Connection) -> None:
        connection.execute(
            QUERIES["register"],
            {
                "id": self.id,
                "kind": self._kind,
                "lease_seconds": self._configuration.lease_seconds,
                "slots": self._slots,
                "queue_names": self._queue_names,
            },
        )

    def _keep(self) -> None:
        while not self._ended.wait(self._configuration.renew_seconds):
            try:
                if not self._renew():
                    self._trusted_until = 0.0
                    return
            except (psycopg.OperationalError, ServerError):
                self._disconnect()

    def _renew(self) -> bool:
        self._connection = self._connection or open_protocol_connection(self._url)
        sent = time.monotonic()
        row = self._connection.execute(
            QUERIES["renew"],
            {"id": self.id, "lease_seconds": self._configuration.lease_seconds, "busy": self._busy()},
        ).fetchone()
        if row is None:
            if not self._begins_anew:
                return False
            self.id = uuid4()
            self._register(self._connection)
        self._trust(sent)
        return True

    def _trust(self, sent: float) -> None:
        # Counted from before the request: PostgreSQL set the end later than that.
        self._trusted_until = sent + self._configuration.trusted_seconds
        self._on_renewal(self._trusted_until)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
