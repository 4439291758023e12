"""Reading one message: index row, one ranged GET, unseal, decompress within a bound, compare the hash.

A message with large attachments needs one more look-up, and a ranged GET for each of them. Of many messages those that
stand together in a pack are fetched together.

Where the frame has moved meanwhile (compaction) the row is read once more. Where the object store cannot give the message,
the body still waiting out its grace in the OLTP tier is used. Otherwise the error says what is wrong and the broken
reference is recorded.

Belongs here: that path. Does not belong here: parts of a message (message_parts.py).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from uuid import UUID

import psycopg
import psycopg_pool

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import (
    ContentDamaged,
    ContentGone,
    ContentMissing,
    ContentUnknown,
    TenantKeyMissing,
    TenantKeyWrong,
)
from penguinmails.content_store.index import QUERIES, Connection, pool, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import MessageBodies
from penguinmails.content_store.recoded_message import Recipe
from penguinmails.content_store.sealed_message import SealedMessage, must_be_what_was_stored, open_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.storage_layout import ids_of, storage_key_bounds
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import IntegrityError, PlatformError
from penguinmails.stack.object_store import ObjectMissing, ObjectStoreUnavailable
from penguinmails.stack.stores import Stores

_TOUCH_AFTER = timedelta(days=1)
_TOUCHED_AT_ONCE = 500
_MOST_APART_BYTES = 64 << 10
"""Messages of one pack with no more between them are fetched together: reading that much takes less time than a request."""
_MOST_TOGETHER_BYTES = 8 << 20
_MOST_AHEAD_BYTES = 32 << 20
"""Of messages that are fetched before they are asked for."""


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
    form: str

    @property
    def frame_place(self) -> tuple[str, int]:
        return self.object_key, self.frame_offset

    @property
    def is_gone(self) -> bool:
        return self.deleted_at is not None or self.erased_at is not None

    @property
    def end_offset(self) -> int:
        return self.frame_offset + self.sealed_size_bytes


@dataclass(frozen=True, slots=True)
class MessageRead:
    """A message as it could be read."""

    raw: bytes
    attachments_gone: int = 0
    """Large attachments whose time was over: their places in `raw` are empty. With 0 it is the original, bit for bit."""


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
        note_access: bool = True,
    ) -> None:
        """Opens nothing yet.

        Args:
            bodies: where messages wait to be handed over; used where the object store cannot give one.
            connections: to the index, at most.
            note_access: False for checks, which are nobody's reading.
        """
        self._note_access = note_access
        self._bodies = bodies
        self._clock = clock
        self._bucket = open_bucket(stores)
        self._keys = KeyRing(key_source(stores))
        self._dictionaries = DictionaryCatalog(self._bucket, self._keys)
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._pool: psycopg_pool.ConnectionPool[Connection] = pool(stores, connections)

    def __enter__(self) -> ContentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes down what was read and gives the connections back."""
        if self._touched:
            with contextlib.suppress(psycopg.Error, psycopg_pool.PoolTimeout), self._pool.connection() as connection:
                connection.execute(QUERIES["touch"], {"storage_keys": list(self._touched), "now": self._clock()})
        self._pool.close()

    def read_message_id(self, message_id: UUID) -> bytes:
        """Returns the message of that id.

        Raises:
            ContentUnknown: neither the index nor the OLTP tier has it.
            PlatformError: as `read`.
        """
        name = self.storage_key_of(message_id)
        if name is not None:
            return self.read(name)
        waiting = self._bodies.body(message_id) if self._bodies else None
        if waiting is None:
            raise ContentUnknown(f"message {message_id}", "is not in the content tier", "Check the id.")
        return waiting

    def storage_key_of(self, message_id: UUID) -> str | None:
        """Returns the storage key of a message, None where the index does not know the message.

        Raises:
            ContentUnknown: two tenants have a message of that id.
        """
        first, last = storage_key_bounds(message_id)
        with typed_errors(), self._pool.connection() as connection:
            rows = connection.execute(QUERIES["locate_message"], {"first": first, "last": last}).fetchall()
        if len(rows) > 1:
            raise ContentUnknown(f"message {message_id}", "exists for two tenants", "Name it by its storage key.")
        return rows[0][0] if rows else None

    def read(self, storage_key: str) -> bytes:
        """Returns the message of that storage key, bit for bit; the places of attachments past their time are empty.

        Raises:
            PlatformError: as `read_whole`.
        """
        return self.read_whole(storage_key).raw

    def read_whole(self, storage_key: str) -> MessageRead:
        """Returns the message of that storage key and whether anything of it has gone.

        Raises:
            ContentUnknown: there is no such message.
            ContentGone: it was deleted or erased.
            ContentMissing: the object store has lost it; recorded as a broken reference.
            ContentDamaged: the object store holds something else; recorded as a broken reference.
            TenantKeyMissing, TenantKeyWrong: its tenant's key is not there; nothing else is wrong with it.
            ObjectStoreUnavailable: try again later.
        """
        with typed_errors(), self._pool.connection() as connection:
            return self._read(connection, storage_key)

    def _read(self, connection: Connection, storage_key: str) -> MessageRead:
        _, message_id = ids_of(storage_key)
        places = _locate(connection, [storage_key])
        if not places:
            waiting = self._bodies.body(message_id) if self._bodies else None
            if waiting is None:
                raise ContentUnknown(f"message {storage_key}", "is not in the content tier", "Check the key.")
            return MessageRead(waiting)
        (place,) = places
        found = self._fetch(connection, place, message_id)
        self._note_reading(connection, place)
        return found

    def read_many(self, storage_keys: Sequence[str]) -> Iterator[tuple[str, MessageRead | PlatformError]]:
        """Yields for each key, in order, what `read_whole` returns or says of the message; many share a request.

        Raises:
            ServerError: a store does not answer.
        """
        with typed_errors(), self._pool.connection() as connection:
            ahead = self._fetched_ahead(connection, storage_keys)
            for storage_key in storage_keys:
                fetched = self._from_ahead(connection, ahead.pop(storage_key, None))
                yield storage_key, fetched or self._outcome(connection, storage_key)

    def _outcome(self, connection: Connection, storage_key: str) -> MessageRead | PlatformError:
        try:
            return self._read(connection, storage_key)
        except (ContentUnknown, ContentGone, IntegrityError, TenantKeyMissing, TenantKeyWrong) as failure:
            return failure

    def _fetched_ahead(self, connection: Connection, storage_keys: Sequence[str]) -> dict[str, tuple[_Place, bytes]]:
        """Returns messages that could be fetched together with others; what becomes of the rest `read_whole` says."""
        readable = [place for place in _locate(connection, storage_keys) if not place.is_gone]
        ahead, size_bytes = dict[str, tuple[_Place, bytes]](), 0
        for places in _neighbours(sorted(readable, key=lambda place: place.frame_place)):
            start, end = places[0].frame_offset, places[-1].end_offset
            if len(places) == 1 or size_bytes + end - start > _MOST_AHEAD_BYTES:
                continue
            size_bytes += end - start
            with contextlib.suppress(IntegrityError, ObjectMissing):  # moved meanwhile, or lost
                content = memoryview(self._bucket.get_range(places[0].object_key, start, end - start))
                for place in places:
                    sealed = content[place.frame_offset - start : place.end_offset - start]
                    ahead[place.storage_key] = place, bytes(sealed)
        return ahead

    def _from_ahead(self, connection: Connection, fetched: tuple[_Place, bytes] | None) -> MessageRead | None:
        """Returns a message that was fetched; None where it was not, or is not what it should be."""
        if fetched is None:
            return None
        place, sealed = fetched
        try:
            found = self._open(connection, place, sealed)
        except (IntegrityError, ObjectMissing, TenantKeyMissing, TenantKeyWrong):
            return None
        self._note_reading(connection, place)
        return found

    def _note_reading(self, connection: Connection, place: _Place) -> None:
        last = place.last_accessed_at
        if self._note_access and (last is None or self._clock() - last > _TOUCH_AFTER):
            self._touch(connection, place.storage_key)

    def _touch(self, connection: Connection, storage_key: str) -> None:
        """Notes that the message was read; many are written at once, so that reading is not writing."""
        with self._lock:
            self._touched.add(storage_key)
            touched = list(self._touched) if len(self._touched) >= _TOUCHED_AT_ONCE else []
            self._touched.difference_update(touched)
        if touched:
            connection.execute(QUERIES["touch"], {"storage_keys": touched, "now": self._clock()})

    def _fetch(self, connection: Connection, place: _Place, message_id: UUID) -> MessageRead:
        try:
            return self._open(connection, place)
        except PlatformError as first_failure:
            failure = first_failure
        if isinstance(failure, IntegrityError | ObjectMissing):
            for moved in _locate(connection, [place.storage_key]):
                if Form(moved.form).is_recipe or moved.frame_place != place.frame_place:
                    return self._open(connection, moved)
        if isinstance(
            failure, IntegrityError | ObjectMissing | ObjectStoreUnavailable | TenantKeyMissing | TenantKeyWrong
        ):
            waiting = self._bodies.body(message_id) if self._bodies else None
            if waiting is not None:
                return MessageRead(waiting)
        if isinstance(failure, ObjectMissing):
            failure = ContentMissing(
                f"message {place.storage_key}",
                f"is gone from the object store (object {place.object_key})",
                "Restore the object from a copy of the bucket; the reference is recorded as broken.",
            )
        if isinstance(failure, IntegrityError):
            self._record(connection, place, failure)
        raise failure

    def _open(self, connection: Connection, place: _Place, sealed: bytes | None = None) -> MessageRead:
        _refuse_gone(place)
        key, message, opened = self._opened(connection, place, sealed)
        if not isinstance(opened, Recipe):
            return MessageRead(opened)
        rows = connection.execute(QUERIES["locate_attachments"], {"storage_key": place.storage_key}).fetchall()
        attachments = [self._attachment(connection, _Place(*row)) for row in rows]
        raw = opened.join(attachments)
        gone = attachments.count(None)
        if not gone:
            must_be_what_was_stored(raw, message, key)
        return MessageRead(raw, gone)

    def _attachment(self, connection: Connection, place: _Place) -> bytes | None:
        """Returns an attachment stored apart, None of one whose time was over."""
        if place.erased_at:
            return None
        _, _, opened = self._opened(connection, place)
        if isinstance(opened, Recipe):
            raise ContentDamaged(f"attachment {place.storage_key}", "is a message", "Run 'penguinmails content check'.")
        return opened

    def _opened(
        self, connection: Connection, place: _Place, sealed: bytes | None = None
    ) -> tuple[TenantKey, SealedMessage, bytes | Recipe]:
        """Returns the message as far as its own frame goes; fetches that where it is not given."""
        key = self._keys.for_reading(connection, place.tenant_id, place.key_generation)
        thing = f"message {place.storage_key}"
        try:
            if sealed is None:
                sealed = self._bucket.get_range(place.object_key, place.frame_offset, place.sealed_size_bytes)
        except IntegrityError as error:
            raise ContentDamaged(thing, f"was cut off ({error.thing})", "Run 'penguinmails content verify'.") from error
        message = SealedMessage(
            place.storage_key,
            place.raw_size_bytes,
            place.content_hash,
            place.wrapped_key,
            sealed,
            Form(place.form),
        )
        dictionary = self._dictionaries.for_reading(connection, place.dictionary_id)
        return key, message, open_message(message, tenant_id=place.tenant_id, key=key, dictionary=dictionary)

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


def _neighbours(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    """Yields places, ordered by where they are, in groups that are worth one request."""
    group = list[_Place]()
    for place in places:
        if group and (
            place.object_key != group[0].object_key
            or place.frame_offset - group[-1].end_offset > _MOST_APART_BYTES
            or place.end_offset - group[0].frame_offset > _MOST_TOGETHER_BYTES
        ):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _locate(connection: Connection, storage_keys: Sequence[str]) -> list[_Place]:
    """Returns the rows of the index, of messages that have gone too, in no order."""
    rows = connection.execute(QUERIES["locate"], {"storage_keys": list(storage_keys)}).fetchall()
    return [_Place(*row) for row in rows]


def _refuse_gone(place: _Place) -> None:
    thing = f"message {place.storage_key}"
    if place.erased_at is not None:
        raise ContentGone(thing, "was erased", "That is final.")
    if place.deleted_at is not None:
        raise ContentGone(thing, "was deleted", "Undelete it while its time of grace lasts.")
