"""Sessions that end badly around COMMIT: what they say of the transaction is true."""

from __future__ import annotations

import dataclasses
import select
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import pytest
from oltp_support import rows, shared_stores, stores
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.tenancy import OutcomeUnknown, Pooler, open_pool, tenant_session
from penguinmails.stack.errors import InputError, ServerError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
TENANT = uuid.UUID(int=10)
ADD = "INSERT INTO leads (email) VALUES ('maybe@example.com')"
KINDS = pytest.mark.parametrize("kind", [Pooler.NONE, Pooler.TRANSACTION])


class Cut(StrEnum):
    """Where a line is cut."""

    IN_THE_MIDDLE = "SELECT 'cut here'"
    """Before the server gets this statement."""
    BEFORE_COMMIT = "COMMIT"
    """Before the server gets it."""
    AFTER_COMMIT = "COMMIT\0"
    """Once the server has done it, before the session hears of it."""


@pytest.fixture
def tenant(stores: Stores) -> Stores:
    with connect(stores.oltp_url, Role.LOADER) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'Tenant')", [TENANT])
    return stores


def carry(client: socket.socket, server: socket.socket, cut: Cut) -> None:
    """Carries bytes both ways until either side ends or the line is to be cut."""
    with client, server:
        while True:
            for ready in select.select([client, server], [], [])[0]:
                received = ready.recv(65536)
                goes_to_server = ready is client
                if not received or (goes_to_server and cut is not Cut.AFTER_COMMIT and cut.encode() in received):
                    return
                if not goes_to_server and cut is Cut.AFTER_COMMIT and cut.encode() in received:
                    return
                (server if goes_to_server else client).sendall(received)


@contextmanager
def through_a_line(stores: Stores, cut: Cut) -> Iterator[Stores]:
    """Yields stores whose application's login comes through a line that is cut."""
    there = conninfo_to_dict(stores.oltp_app_url.get_secret_value())
    host, port = str(there["host"]), str(there.get("port", 5432))
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            if host.startswith("/"):
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{host}/.s.PGSQL.{port}")
            else:
                server = socket.create_connection((host, int(port)))
            threading.Thread(target=carry, args=[client, server, cut], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    url = make_conninfo(**(there | {"host": "127.0.0.1", "port": listener.getsockname()[1], "sslmode": "disable"}))
    try:
        yield dataclasses.replace(stores, oltp_app_url=SecretStr(url))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@KINDS
@pytest.mark.parametrize("cut", Cut)
def test_a_connection_that_is_lost_never_says_more_than_is_known(
    tenant: Stores, rows: Rows, kind: Pooler, cut: Cut
) -> None:
    def work() -> None:
        with tenant_session(pool, TENANT) as session:
            session.execute(ADD)
            if cut is Cut.IN_THE_MIDDLE:
                session.execute(cut).fetchall()

    with (
        through_a_line(tenant, cut) as stores,
        open_pool(stores, max_connections=1, pooler=kind) as pool,
        pytest.raises(ServerError) as told,
    ):
        work()
    assert isinstance(told.value, OutcomeUnknown) == (cut is not Cut.IN_THE_MIDDLE)
    assert ("Nothing was written" in str(told.value)) == (cut is Cut.IN_THE_MIDDLE)
    assert rows("SELECT count(*) FROM leads") == [(int(cut is Cut.AFTER_COMMIT),)]


@KINDS
def test_a_failure_that_the_caller_passed_over_is_told_at_the_end(tenant: Stores, rows: Rows, kind: Pooler) -> None:
    def pass_over() -> None:
        with tenant_session(pool, TENANT) as session:
            session.execute(ADD)
            with pytest.raises(Exception, match="division by zero"):
                session.execute("SELECT 1 / 0").fetchone()

    with open_pool(tenant, max_connections=1, pooler=kind) as pool:
        with pytest.raises(InputError, match=r"nothing of the transaction was written.*savepoint"):
            pass_over()
        with tenant_session(pool, TENANT) as session:  # the connection is as good as new
            session.execute(ADD)
    assert rows("SELECT count(*) FROM leads") == [(1,)]
