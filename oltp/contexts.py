"""Whether the database believes a session's context as it is set (open), or with a proof only (sealed).

Open, whoever holds the application's login may name any tenant: what an SDK of others needs, which sets the plain settings.
Sealed, a context without a valid seal (context_seals.py) is no context: there are no rows, and no error. The state is in
the bodies of three functions (contexts.sql); migrations leave them alone.

Belongs here: the state, the keys that the database accepts, who changed them and why. Does not belong here: signing
(context_seals.py), sessions (tenancy.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from psycopg.rows import class_row

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.context_seals import KEY_SETTING, ContextKey, Signer, key_file, key_of, signer_of
from penguinmails.stack.errors import InputError
from penguinmails.stack.key_files import make_key_file, read_key_file, sync_folder
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

KEEP_OLD = timedelta(hours=1)
"""How long a key is still accepted after another took its place: what rolling out a setting takes."""
WAIT = timedelta(seconds=30)
_LOOK_SECONDS = 0.1
_QUERIES = Queries(Path(__file__).parent / "contexts.sql")


class State(StrEnum):
    """What a database believes."""

    OPEN = "open"
    """Whatever tenant and user a session sets."""
    SEALED = "sealed"
    """Tenant and user that come with a valid seal."""


_STATES = {("RETURN true", 0): State.OPEN, ("RETURN app.seal_is_valid()", 3): State.SEALED}
_STATEMENTS = {
    State.OPEN: ("open_context_is_proven", "open_current_tenant_id", "open_current_user_id"),
    State.SEALED: ("seal_context_is_proven", "seal_current_tenant_id", "seal_current_user_id"),
}


@dataclass(frozen=True)
class Order:
    """Who wants a change and why; kept in app.context_changes."""

    actor: str
    reason: str


@dataclass(frozen=True)
class AcceptedKey:
    """A key whose seals are valid; accepted_until is None for the present one."""

    key_id: str
    created: datetime
    accepted_until: datetime | None


@dataclass(frozen=True)
class Change:
    """One line of app.context_changes."""

    changed: datetime
    action: str
    key_id: str | None
    actor: str
    reason: str


@dataclass(frozen=True)
class Status:
    """How a database and this machine stand to one another.

    Args:
        state: what the database believes; None when somebody wrote the functions of contexts otherwise.
        keys: the keys it accepts.
        own_key_id: the key of this machine, None where there is none.
        own_seal_is_believed: whether a context that this machine signs is believed now.
        changes: the last changes, newest first.
    """

    state: State | None
    keys: list[AcceptedKey]
    own_key_id: str | None
    own_seal_is_believed: bool
    changes: list[Change]


@dataclass(frozen=True)
class Changed:
    """What an order did.

    Args:
        state: what the database believes now.
        changed: whether that or its keys are other than before.
        key_id: the present key; None where there is none.
        older_transactions: process ids of sessions whose transaction began before and goes on believing what it did.
    """

    state: State
    changed: bool
    key_id: str | None
    older_transactions: tuple[int, ...] = ()


def status(stores: Stores) -> Status:
    """Asks the database, and tries this machine's key on it.

    Raises:
        SettingsError: what should be the key of this machine is none.
        ServerError: the database cannot be reached or is not migrated.
    """
    signer = signer_of(stores)
    with connect(stores.oltp_url, Role.OWNER) as connection:
        with connection.cursor(row_factory=class_row(Change)) as cursor:
            changes = cursor.execute(_QUERIES["changes"]).fetchall()
        found, keys = state(connection), accepted_keys(connection)
    own = signer.key.key_id if signer else None
    return Status(found, keys, own, is_believed(stores, signer), changes)


def state(connection: Connection) -> State | None:
    """Returns what the database believes; None when somebody wrote the functions of contexts otherwise."""
    row = connection.execute(_QUERIES["state"]).fetchone()
    return _STATES.get((str(row[0]), row[1])) if row else None


def set_state(connection: Connection, wanted: State) -> None:
    """Writes the functions of contexts; only within a transaction, so that all of them change at once."""
    for statement in _STATEMENTS[wanted]:
        connection.execute(_QUERIES[statement])


def accepted_keys(connection: Connection) -> list[AcceptedKey]:
    """Returns the accepted keys, the present one first. Needs the owner's rights."""
    with connection.cursor(row_factory=class_row(AcceptedKey)) as cursor:
        return cursor.execute(_QUERIES["keys"]).fetchall()


def is_believed(stores: Stores, signer: Signer | None) -> bool:
    """Opens a context of nobody as the application's login and asks whether it is believed."""
    with connect(stores.oltp_app_url) as connection, connection.transaction():
        seal = signer.seal("", "") if signer else ""
        row = connection.execute(_QUERIES["is_believed"], {"seal": seal}).fetchone()
    return row is not None and bool(row[-1])


def seal(stores: Stores, order: Order, *, wait: timedelta = WAIT) -> Changed:
    """Makes the database ask for proofs, made with the key of this machine; makes a key file where there is no key.

    Args:
        stores: where the database is, and the key.
        order: who wants it and why.
        wait: how long to wait for transactions that began before; the seal is on whether they end or not.

    Raises:
        InputError: the contexts are sealed with another key; nothing was changed.
        SettingsError: what should be the key is none.
    """
    key = key_of(stores) or ContextKey(make_key_file(key_file(stores)))
    with connect(stores.oltp_url, Role.OWNER) as connection:
        with _change(connection) as (before, present):
            if before is State.SEALED and present != key.key_id:
                raise InputError(
                    "contexts",
                    f"are sealed with another key ({present})",
                    f"Set {KEY_SETTING} to that key, or run 'penguinmails oltp contexts rotate' to take this one.",
                )
            changed = before is not State.SEALED
            if changed:
                _make_present(connection, key, keep=timedelta())
                set_state(connection, State.SEALED)
                _note(connection, "seal", key.key_id, order)
        # Also when it was sealed already: an earlier order may have been killed while it waited.
        older = _wait_for_older_transactions(connection, wait)
    return Changed(State.SEALED, changed, key.key_id, older)


def rotate(stores: Stores, order: Order, *, keep_old: timedelta = KEEP_OLD) -> Changed:
    """Makes another key the present one: that of the environment, or a new one in the key file. Killed, it can be repeated.

    Args:
        stores: where the database is, and the key.
        order: who wants it and why.
        keep_old: how long seals of the keys before are still accepted.

    Raises:
        InputError: the contexts are open; nothing was changed.
        SettingsError: what should be the key is none.
    """
    following = key_file(stores).with_suffix(".key.next")
    with connect(stores.oltp_url, Role.OWNER) as connection:
        with _change(connection) as (before, present):
            if before is not State.SEALED:
                raise InputError("contexts", "are open", "Seal them first: penguinmails oltp contexts seal")
            # On disk before the database accepts it, and in its place only after: the old one is accepted meanwhile.
            key = key_of(stores) if stores.context_key is not None else ContextKey(make_key_file(following))
            assert key is not None  # noqa: S101 - the environment has it, or it was just made
            changed = present != key.key_id
            if changed:
                _make_present(connection, key, keep=keep_old)
                _note(connection, "rotate", key.key_id, order)
        with _change(connection) as (_, present):  # nobody else makes a key file meanwhile
            secret = read_key_file(following)
            if secret is not None and ContextKey(secret).key_id == present:
                following.replace(key_file(stores))
                sync_folder(following.parent)
    return Changed(State.SEALED, changed, key.key_id)


def open_(stores: Stores, order: Order) -> Changed:
    """Makes the database believe every context again. Keys stay, so that it can be sealed again without a new one."""
    with connect(stores.oltp_url, Role.OWNER) as connection, _change(connection) as (before, present):
        changed = before is not State.OPEN
        if changed:
            set_state(connection, State.OPEN)
            _note(connection, "open", present, order)
    return Changed(State.OPEN, changed, present)


@contextmanager
def _change(connection: Connection) -> Iterator[tuple[State | None, str | None]]:
    """A transaction that nobody else changes the state or the keys in; yields the state and the present key's id."""
    with connection.transaction():
        connection.execute(_QUERIES["one_at_a_time"])
        present = [key.key_id for key in accepted_keys(connection) if key.accepted_until is None]
        yield state(connection), present[0] if present else None


def _make_present(connection: Connection, key: ContextKey, *, keep: timedelta) -> None:
    connection.execute(_QUERIES["forget_ended"])
    if connection.execute(_QUERIES["accept_again"], {"key_id": key.key_id}).fetchone() is None:
        with connection.cursor() as cursor, cursor.copy(_QUERIES["install_key"]) as copy:
            copy.write_row((key.key_id, *key.blocks()))
    connection.execute(_QUERIES["let_others_end"], {"key_id": key.key_id, "keep_seconds": keep.total_seconds()})
    connection.execute(_QUERIES["forget_ended"])


def _note(connection: Connection, action: str, key_id: str | None, order: Order) -> None:
    values = {"action": action, "key_id": key_id, "actor": order.actor, "reason": order.reason}
    connection.execute(_QUERIES["note_change"], values)


def _wait_for_older_transactions(connection: Connection, wait: timedelta) -> tuple[int, ...]:
    """Returns the sessions whose transaction began before and has not ended within the time."""
    older = {row[0] for row in connection.execute(_QUERIES["older_transactions"])}
    until = time.monotonic() + wait.total_seconds()
    while True:
        running = {row[0]: row[1] for row in connection.execute(_QUERIES["older_transactions"]) if row[0] in older}
        if not running or time.monotonic() >= until:
            return tuple(sorted(running.values()))
        time.sleep(_LOOK_SECONDS)
