"""The application's way in: transactions that are bound to one tenant and one user.

Belongs here: pools, setting the context of a transaction, refusing to work without one, my tenants. Does not belong here:
pipelines (connections.py), policies (migrations/), what a refused row is told (refusals.py).

The context is set with set_config(…, is_local), so it ends with the transaction and cannot reach the next user of a pooled
connection, even behind a transaction pooler. It travels in the same network message as the first statement (pipeline
mode): measured, this takes the 95th percentile from 48 to 8 ms at 1,000 sessions over a pool of 20. Behind a transaction
pooler it travels with BEGIN instead (see UnpipelinedConnection). The role pm_app is taken with it, so that a login that may do
more is held to the policies as well. What a caller leaves in the session of the server by statements of its own (settings,
held cursors, prepared statements under a name of the driver's) ends before a connection is given out again.

Whoever holds the application's login names the tenant: the application must have checked that its user is a member. Where this
machine has the key (context_seals.py), every context is signed, in the same message; a database that is sealed (contexts.py)
believes no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import capabilities
from psycopg.abc import Params, QueryNoTemplate
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import RowFactory, TupleRow, class_row
from psycopg_pool import ConnectionPool, PoolTimeout

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.context_seals import KEY_SETTING, Signer, signer_of
from penguinmails.oltp.refusals import refusals_told
from penguinmails.oltp.statements import QUERIES
from penguinmails.stack.errors import InputError, ServerError, SettingsError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

PRIMARY_POOL_CONNECTIONS = 50
"""Ceiling of the pool of sessions that write."""
READ_POOL_CONNECTIONS = 30
"""Ceiling of the pool of sessions that read; both together are the OLTP tier's documented 80."""
CHECKOUT_SECONDS = 10.0
"""How long a session waits for a free connection."""
Row = TypeVar("Row")
_SEEN_TENANTS = 100_000
_seen_tenants: dict[tuple[str, int, str], set[str]] = {}
"""Tenants of each database that this process has seen: looking costs 60 microseconds, so it looks once. A tenant that is deleted
later has no rows, and none of its can be written but in the logs, where a check finds them. At most some 10 MB."""
_QUERIES = Queries(Path(__file__).parent / "tenancy.sql")


class OutcomeUnknown(ServerError):
    """The connection was lost between COMMIT and its answer: the transaction is written as a whole or not at all.

    Only a look at its rows tells. A transaction that may be done twice (an upsert, an idempotency key) can just be done again.
    """


class Pooler(StrEnum):
    """What stands between the application and the server."""

    NONE = "none"
    """Nothing, or a pooler in session mode."""
    TRANSACTION = "transaction"
    """Each transaction gets another connection of the server. Nothing is prepared: the next transaction would not find it."""
    TRANSACTION_PREPARED = "transaction-prepared"
    """The same, but it knows a prepared statement again on every connection of the server: PgBouncer from 1.21, with
    max_prepared_statements above 0. Statements are prepared at first use, since mostly another session has done so before."""

    def connection_arguments(self) -> dict[str, Any]:
        """Returns what connections are opened with.

        Raises:
            SettingsError: this driver would end prepared statements by SQL, in some other session's connection.
        """
        if self is Pooler.TRANSACTION_PREPARED and not capabilities.has_send_close_prepared():
            raise SettingsError(
                "libpq of psycopg",
                f"is {psycopg.pq.version() // 10000}: too old to end a prepared statement by the protocol",
                "Use libpq 17 or newer (psycopg[binary] brings one), or Pooler.TRANSACTION.",
            )
        thresholds = {Pooler.TRANSACTION: None, Pooler.TRANSACTION_PREPARED: 0}
        return {"autocommit": True} | ({"prepare_threshold": thresholds[self]} if self in thresholds else {})

    def connection_class(self) -> type[Connection]:
        """Returns the kind of connection that a session takes."""
        return psycopg.Connection if self is Pooler.NONE else UnpipelinedConnection

    def connect(self, url: str) -> Connection:
        """Opens one connection of the application's login.

        Raises: what connection_arguments() and psycopg raise.
        """
        return self.connection_class().connect(url, **self.connection_arguments())


class UnpipelinedConnection(psycopg.Connection[TupleRow]):
    """A connection on which sessions put nothing into a pipeline: each statement waits for its answer.

    For transaction poolers. Sessions that came through PgBouncer (1.18, 1.24) in pipelines were seen to wait for ever while every
    connection of the server was idle; why is not known, without pipelines it was not seen.
    """


class Pool(ConnectionPool[Connection]):
    """Connections of the application's login, and what signs their contexts (None where this machine has no key)."""

    signer: Signer | None = None


class Session:
    """What a caller may do within a session. Ending the transaction is not among it: that would end the context."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._steady = False

    def execute(
        self, query: QueryNoTemplate, values: Params | None = None, *, binary: bool = False, steady_plan: bool = False
    ) -> psycopg.Cursor[TupleRow]:
        """Runs a statement; its rows come when they are fetched, so statements without an answer cost no waiting (but behind
        a transaction pooler).

        Args:
            query: the statement.
            values: of its placeholders.
            binary: rows come in binary form.
            steady_plan: it is served by one plan, whatever its values: in the order of an index, planned once a connection
                (each time where nothing is prepared, see Pooler). For short lists and single rows out of large tables;
                statements.run() knows which.
        """
        prepares = self._connection.prepare_threshold is not None
        if steady_plan and not self._steady:
            mode = "force_generic_plan" if prepares else "auto"
            self._connection.execute(_QUERIES["steady_plans"], {"plan_mode": mode})
        elif self._steady and not steady_plan:
            self._connection.execute(_QUERIES["usual_plans"])
        self._steady = steady_plan
        return self._connection.execute(query, values, prepare=(steady_plan and prepares) or None, binary=binary)

    def cursor(self, row_factory: RowFactory[Row]) -> psycopg.Cursor[Row]:
        """Returns a cursor that makes rows of a kind."""
        return self._connection.cursor(row_factory=row_factory)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undoes what was done within when an error ends it; the session goes on."""
        steady = self._steady
        try:
            with self._connection.transaction():
                yield
        except BaseException:
            self._steady = steady  # the setting went back with the rest
            raise


@dataclass(frozen=True)
class MyTenant:
    """A tenant its user may choose."""

    id: UUID
    name: str | None
    created: datetime
    updated: datetime
    roles: list[str]


@contextmanager
def open_pool(
    stores: Stores,
    *,
    max_connections: int = PRIMARY_POOL_CONNECTIONS,
    min_connections: int = 0,
    pooler: Pooler = Pooler.NONE,
) -> Iterator[Pool]:
    """Opens a pool of the application's login and closes it at the end.

    Args:
        stores: where the OLTP database is.
        max_connections: ceiling; see PRIMARY_POOL_CONNECTIONS and READ_POOL_CONNECTIONS.
        min_connections: how many stay open when nobody works.
        pooler: what the URL leads to.

    Raises:
        SettingsError: what should be the key of contexts is none, or others can read it; a driver too old for the pooler.
    """
    pool = Pool(
        stores.oltp_app_url.get_secret_value(),
        min_size=min_connections,
        max_size=max_connections,
        timeout=CHECKOUT_SECONDS,
        connection_class=pooler.connection_class(),
        kwargs=pooler.connection_arguments(),
        reset=_forget_everything,
        name="penguinmails-oltp",
        open=False,
    )
    pool.signer = signer_of(stores)
    with pool:
        yield pool


@contextmanager
def tenant_session(
    pool_or_connection: Pool | Connection,
    tenant_id: UUID | str | None,
    user_id: UUID | str | None = None,
    *,
    signer: Signer | None = None,
) -> Iterator[Session]:
    """Opens a transaction in which row level security sees this tenant and this user, and nothing else.

    Args:
        pool_or_connection: a pool or a free connection of the application's login.
        tenant_id: the tenant; there is no session without one.
        user_id: the user; None where nobody is signed in (jobs of the tenant).
        signer: signs the context (context_seals.signer_of); a pool has its own. Without one a database that is sealed refuses.

    Raises:
        InputError: no tenant, an id that is no uuid, a connection that is in use: nothing was sent to the database. A tenant
            that there is not: nothing was written.
        SettingsError: the database does not believe the context: no key, another key, or a clock that is wrong.
            A statement failed and the caller went on: nothing was written.
        RowRefused: a statement breaks a rule of the schema; nothing of the transaction was written.
        ServerError: no connection was had in time, or it was lost; nothing of the transaction was written.
        OutcomeUnknown: the connection was lost while the transaction ended.
    """
    tenant = _identifier("tenant_id", tenant_id)
    if not tenant:
        raise InputError("tenant_id", "is missing", "Choose a tenant before opening a session.")
    with _session(pool_or_connection, tenant, _identifier("user_id", user_id), signer) as session:
        yield session


@contextmanager
def user_session(
    pool_or_connection: Pool | Connection, user_id: UUID | str | None, *, signer: Signer | None = None
) -> Iterator[Session]:
    """Opens a transaction of a user who has not chosen a tenant: only what belongs to the user is seen.

    Raises: what tenant_session() raises.
    """
    user = _identifier("user_id", user_id)
    if not user:
        raise InputError("user_id", "is missing", "Sign in before opening a session.")
    with _session(pool_or_connection, "", user, signer) as session:
        yield session


def my_tenants(session: Session) -> list[MyTenant]:
    """Returns the live tenants of the user of a session, by name."""
    with session.cursor(class_row(MyTenant)) as cursor:
        return cursor.execute(QUERIES["my_tenants"]).fetchall()


def create_tenant(session: Session, name: str) -> UUID:
    """Makes a tenant that the user of the session owns; returns its id."""
    row = session.execute(QUERIES["create_tenant"], {"name": name}).fetchone()
    if row is None:
        raise ServerError("app.create_tenant", "returned nothing", "Run 'penguinmails oltp check'.")
    return UUID(str(row[0]))


@contextmanager
def _session(pool_or_connection: Pool | Connection, tenant: str, user: str, signer: Signer | None) -> Iterator[Session]:
    if not isinstance(pool_or_connection, Pool):
        with _bound(pool_or_connection, tenant, user, signer):
            yield Session(pool_or_connection)
        return
    try:
        connection = pool_or_connection.getconn()
    except PoolTimeout:
        raise ServerError(
            "OLTP pool",
            f"had no free connection within {CHECKOUT_SECONDS:.0f} s",
            "Try again, or look at long transactions.",
        ) from None
    try:
        with _bound(connection, tenant, user, signer or pool_or_connection.signer):
            yield Session(connection)
    finally:
        pool_or_connection.putconn(connection)


@contextmanager
def _bound(connection: Connection, tenant: str, user: str, signer: Signer | None) -> Iterator[None]:
    busy = connection.info.transaction_status != TransactionStatus.IDLE
    if busy or connection.info.pipeline_status != PipelineStatus.OFF:
        raise InputError("connection", "is in a transaction already", "Give a free connection, or end the transaction.")
    database = (connection.info.host, connection.info.port, connection.info.dbname)
    seen = _seen_tenants.setdefault(database, set())
    is_known = not tenant or tenant in seen
    try:
        enter = _QUERIES["enter_tenant" if is_known else "enter_unseen_tenant"]
        context = {"tenant_id": tenant, "user_id": user, "seal": signer.seal(tenant, user) if signer else ""}
        with refusals_told(), _transaction(connection, enter, context):
            yield
    except psycopg.errors.NoDataFound:
        if is_known:
            raise
        raise InputError("tenant_id", "names no tenant", "Choose one of the user's tenants.") from None
    except psycopg.errors.InvalidAuthorizationSpecification:
        wrong = "is not the key that the database accepts, or one of the two clocks is wrong"
        problem = wrong if signer else "is not set, and the database believes signed contexts only"
        raise SettingsError(KEY_SETTING, problem, "Compare: penguinmails oltp contexts status") from None
    except psycopg.errors.PipelineAborted:
        raise _went_on_after_an_error() from None
    except psycopg.OperationalError as error:
        raise ServerError(
            "OLTP database", f"ended the session ({type(error).__name__})", "Nothing was written; try again."
        ) from None
    if not is_known and len(seen) < _SEEN_TENANTS:
        seen.add(tenant)


@contextmanager
def _transaction(connection: Connection, enter: str, context: dict[str, str]) -> Iterator[None]:
    """A transaction whose BEGIN, context and COMMIT cost as few round trips as the connection allows.

    In a pipeline none has an answer of its own: BEGIN leaves with the first statement, COMMIT with the last. psycopg's
    connection.transaction() waits for the answers to BEGIN, to what was sent, and to COMMIT: five round trips instead of two.
    Without one, BEGIN and the context are one message of the simple protocol, then each has its answer.
    """
    in_pipeline = not isinstance(connection, UnpipelinedConnection)
    is_ending = False
    try:
        with connection.pipeline() if in_pipeline else nullcontext():
            if in_pipeline:
                connection.execute(_QUERIES["begin"])
                connection.execute(enter, context)
            else:
                with psycopg.ClientCursor(connection) as cursor:
                    cursor.execute(f"{_QUERIES['begin']};\n{enter}", context)
            yield
            is_ending = True
            ended = connection.execute(_QUERIES["commit"], prepare=None if in_pipeline else False)
        if ended.statusmessage != "COMMIT":  # the server's answer to COMMIT after an error is ROLLBACK
            raise _went_on_after_an_error()
    except psycopg.OperationalError as error:
        if is_ending and connection.closed:
            raise OutcomeUnknown(
                "OLTP database",
                f"was lost while the transaction ended ({type(error).__name__}): it is written as a whole or not at all",
                "Look whether its rows are there before you do it again.",
            ) from None
        raise
    finally:
        _end_transaction(connection)


def _went_on_after_an_error() -> InputError:
    return InputError(
        "session",
        "went on after a statement had failed: nothing of the transaction was written",
        "Let the error end the session, or run what may fail within session.savepoint().",
    )


def _end_transaction(connection: Connection) -> None:
    if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
        connection.rollback()


def _forget_everything(connection: Connection) -> None:
    """Ends whatever a caller left in the session of the server; done by the pool, not on the caller's time.

    A caller who prepared statements by SQL may have taken a name that the driver will use: such a connection is closed.
    """
    answers = connection.execute(_QUERIES["forget_everything"], prepare=False)
    while answers.nextset():
        pass
    row = answers.fetchone()
    if row is None or row[0]:
        raise ServerError("OLTP connection", "holds statements that a caller prepared", "It is closed and replaced.")


def _identifier(name: str, value: UUID | str | None) -> str:
    if value is None or value == "":
        return ""
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise InputError(name, "is no uuid", "Give the id as it stands in the database.") from None
