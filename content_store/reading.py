"""Reading one message: index row, one ranged GET, unseal, decompress within a bound, compare the hash.

Where the frame has moved meanwhile (compaction) the row is read once more. Where the object store cannot give the message,
the body still waiting out its grace in the OLTP tier is used. Otherwise the error says what is wrong and the broken
reference is recorded.

Belongs here: that path. Does not belong here: parts of a message (message_parts.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from uuid import UUID

import psycopg_pool

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import (
    ContentGone,
    ContentMissing,
    ContentUnknown,
    TenantKeyMissing,
    TenantKeyWrong,
)
from penguinmails.content_store.index import QUERIES, Connection, pool, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import MessageBodies
from penguinmails.content_store.sealed_message import SealedMessage, open_message
from penguinmails.content_store.storage_layout import ids_of, storage_key_bounds
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import IntegrityError, PlatformError
from penguinmails.stack.object_store import ObjectMissing, ObjectStoreUnavailable
from penguinmails.stack.stores import Stores

_TOUCH_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Place:
    """One row of the index, with the object its frame is in."""

    storage_key: str
    tenant_id: UUID
    raw_size_bytes: int
    content_hash: str
    sealed_size_bytes: int
    object_key: str
    frame_offset: int
    dictionary_id: int
    key_generation: int
    wrapped_key: bytes
    last_accessed_at: datetime | None
    deleted_at: datetime | None
    erased_at: datetime | None


def read_message(
    stores: Stores,
    *,
    storage_key: str | None = None,
    message_id: UUID | None = None,
    bodies: MessageBodies | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> bytes:
    """Returns one message, bit for bit, named by its storage key or its id. For many, keep a `ContentReader`.

    Raises:
        ContentUnknown, ContentGone, ContentMissing, ContentDamaged, TenantKeyMissing, TenantKeyWrong: as named.
        ServerError: a store does not answer.
    """
    with ContentReader(stores, bodies=bodies, clock=clock) as reader:
        if storage_key is not None:
            return reader.read(storage_key)
        if message_id is not None:
            return reader.read_message_id(message_id)
    raise ContentUnknown("message", "is not named", "Give a storage key or a message id.")


class ContentReader:
    """Reads messages; holds connections, checked keys and dictionaries. Safe to share between threads."""

    def __init__(
        self,
        stores: Stores,
        *,
        bodies: MessageBodies | None = None,
        clock: Callable[[], datetime] = utc_now,
        connections: int = 4,
    ) -> None:
        self._bodies = bodies
        self._clock = clock
        self._bucket = open_bucket(stores)
        self._keys = KeyRing(key_source(stores))
        self._dictionaries = DictionaryCatalog(self._bucket, self._keys)
        self._pool: psycopg_pool.ConnectionPool[Connection] = pool(stores, connections)

    def __enter__(self) -> ContentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._pool.close()

    def read_message_id(self, message_id: UUID) -> bytes:
        """Returns the message of that id.

        Raises:
            ContentUnknown: neither the index nor the OLTP tier has it.
            PlatformError: as `read`.
        """
        first, last = storage_key_bounds(message_id)
        with typed_errors(), self._pool.connection() as connection:
            rows = connection.execute(QUERIES["locate_message"], {"first": first, "last": last}).fetchall()
        if len(rows) == 1:
            return self.read(rows[0][0])
        if len(rows) > 1:
            raise ContentUnknown(f"message {message_id}", "exists for two tenants", "Name it by its storage key.")
        waiting = self._bodies.body(message_id) if self._bodies else None
        if waiting is None:
            raise ContentUnknown(f"message {message_id}", "is not in the content tier", "Check the id.")
        return waiting

    def read(self, storage_key: str) -> bytes:
        """Returns the message of that storage key, bit for bit.

        Raises:
            ContentUnknown: there is no such message.
            ContentGone: it was deleted or erased.
            ContentMissing: the object store has lost it; recorded as a broken reference.
            ContentDamaged: the object store holds something else; recorded as a broken reference.
            TenantKeyMissing, TenantKeyWrong: its tenant's key is not there; nothing else is wrong with it.
            ObjectStoreUnavailable: try again later.
        """
        _, message_id = ids_of(storage_key)
        with typed_errors(), self._pool.connection() as connection:
            place = _locate(connection, storage_key)
            if place is None:
                waiting = self._bodies.body(message_id) if self._bodies else None
                if waiting is None:
                    raise ContentUnknown(f"message {storage_key}", "is not in the content tier", "Check the key.")
                return waiting
            raw = self._fetch(connection, place, message_id)
            if place.last_accessed_at is None or self._clock() - place.last_accessed_at > _TOUCH_AFTER:
                connection.execute(QUERIES["touch"], {"storage_key": storage_key, "now": self._clock()})
            return raw

    def _fetch(self, connection: Connection, place: _Place, message_id: UUID) -> bytes:
        try:
            return self._open(connection, place)
        except PlatformError as first_failure:
            failure = first_failure
        if isinstance(failure, IntegrityError | ObjectMissing):
            moved = _locate(connection, place.storage_key)
            if moved is not None and (moved.object_key, moved.frame_offset) != (place.object_key, place.frame_offset):
                return self._open(connection, moved)
        if isinstance(
            failure, IntegrityError | ObjectMissing | ObjectStoreUnavailable | TenantKeyMissing | TenantKeyWrong
        ):
            waiting = self._bodies.body(message_id) if self._bodies else None
            if waiting is not None:
                return waiting
        if isinstance(failure, ObjectMissing):
            failure = ContentMissing(
                f"message {place.storage_key}",
                f"is gone from the object store (object {place.object_key})",
                "Restore the object from a copy of the bucket; the reference is recorded as broken.",
            )
        if isinstance(failure, IntegrityError):
            self._record(connection, place, failure)
        raise failure

    def _open(self, connection: Connection, place: _Place) -> bytes:
        _refuse_gone(place)
        key = self._keys.for_reading(connection, place.tenant_id, place.key_generation)
        message = SealedMessage(
            place.storage_key,
            place.raw_size_bytes,
            place.content_hash,
            place.wrapped_key,
            self._bucket.get_range(place.object_key, place.frame_offset, place.sealed_size_bytes),
        )
        dictionary = self._dictionaries.for_reading(connection, place.dictionary_id)
        return open_message(message, tenant_id=place.tenant_id, key=key, dictionary=dictionary)

    def _record(self, connection: Connection, place: _Place, failure: PlatformError) -> None:
        connection.execute(
            QUERIES["record_broken_reference"],
            {
                "storage_key": place.storage_key,
                "tenant_id": place.tenant_id,
                "problem": type(failure).__name__,
                "now": self._clock(),
            },
        )


def _locate(connection: Connection, storage_key: str) -> _Place | None:
    row = connection.execute(QUERIES["locate"], {"storage_key": storage_key}).fetchone()
    return _Place(*row) if row else None


def _refuse_gone(place: _Place) -> None:
    thing = f"message {place.storage_key}"
    if place.erased_at is not None:
        raise ContentGone(thing, "was erased", "That is final.")
    if place.deleted_at is not None:
        raise ContentGone(thing, "was deleted", "Undelete it while its time of grace lasts.")
