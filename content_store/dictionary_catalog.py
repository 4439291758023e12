"""Which dictionary a tenant's messages are written with, and finding the one a frame was written with.

A tenant's dictionary is an object of its own, sealed under the tenant's key; the index says which there are. A new
generation is trained when there is none yet, or when mail has drifted away from the newest one, and is used only if it
does better on a sample of the batch it was trained on. That many have each piece of it keeps it from knowing single
messages: of real mail it gained as much on messages it had not seen, and holding some back cost the others 0.5 %.

Belongs here: storing, finding and replacing dictionaries. Does not belong here: choosing their bytes
(dictionary_training.py).
"""

from __future__ import annotations

import hashlib
import struct
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from penguinmails.content_store.bootstrap_dictionary import BOOTSTRAP_DICTIONARY_ID, shipped_dictionary
from penguinmails.content_store.codec import FAST_LEVEL, THOROUGH_LEVEL, Dictionary, compress
from penguinmails.content_store.dictionary_samples import (
    MINIMUM_CORRESPONDENTS,
    Sample,
    Train,
    choose_samples,
    train_here,
)
from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.index import QUERIES, Connection
from penguinmails.content_store.keys import KeyRing
from penguinmails.content_store.ports import BodyToStore
from penguinmails.content_store.sealing import TenantKey, seal, unseal
from penguinmails.content_store.steps import AtStep, TrainingStep, no_step
from penguinmails.content_store.storage_layout import dictionary_key
from penguinmails.stack.object_store import Bucket

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEAST_MESSAGES = 200
"""Fewer messages at once are not worth a dictionary of their own."""
RETRAIN_BELOW = 0.8
"""Of the ratio at training: below it a batch has drifted away from its dictionary."""
LEAST_GAIN = 1.05
"""A new dictionary must give this many times the ratio of the one before."""
SHORTEST_LIFE = timedelta(days=1)
THOROUGH_BYTES = 16 << 20
"""Raw bytes that one hand-over compresses thoroughly: what a day brings most tenants, and at most six seconds of one core.
From the batch on that goes beyond it everything is compressed fast: the backlog is long."""
_IN_MEMORY = 32
_TRIAL_MESSAGES = 64
_MOST_DICTIONARY_BYTES = 1 << 20


class DictionaryCatalog:
    """Dictionaries by id, the most recently used in memory. Safe to share between threads."""

    def __init__(self, bucket: Bucket, keys: KeyRing, *, train: Train = train_here) -> None:
        self._bucket = bucket
        self._keys = keys
        self._train_it = train
        self._lock = threading.Lock()
        self._training: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)
        self._known: OrderedDict[int, Dictionary] = OrderedDict()
        self._thorough_bytes_left = THOROUGH_BYTES

    def for_reading(self, connection: Connection, dictionary_id: int) -> Dictionary:
        """Returns the dictionary of that id.

        Raises:
            ContentDamaged: there is none, or its object is not what was stored.
            ObjectMissing: its object is gone.
        """
        shipped = shipped_dictionary(dictionary_id)
        if shipped is not None:
            return shipped
        with self._lock:
            known = self._known.get(dictionary_id)
            if known is not None:
                self._known.move_to_end(dictionary_id)
                return known
        loaded = self._load(connection, dictionary_id)
        self._remember(loaded)
        return loaded

    def for_writing(
        self,
        connection: Connection,
        key: TenantKey,
        bodies: Sequence[BodyToStore],
        *,
        now: datetime,
        at_step: AtStep = no_step,
    ) -> Dictionary:
        """Returns the dictionary and level to write this batch with, training a new one where that is due and pays.

        Args:
            key: the tenant's newest key.
            bodies: a batch of one tenant's messages.
            at_step: told each step of a training that is now durable.
        """
        with self._lock:
            level = self._level(bodies)
            one_trains = self._training[key.tenant_id]
        # For a tenant's first dictionary the other workers of a hand-over wait; while a later one is trained they use the
        # one there is.
        if not one_trains.acquire(blocking=False):
            newest_id, generation, _, _ = self._newest(connection, key.tenant_id)
            if generation:
                return self.for_reading(connection, newest_id).at_level(level)
            one_trains.acquire()
        try:
            return self._newest_or_better(connection, key, bodies, level, now, at_step).at_level(level)
        finally:
            one_trains.release()

    def _level(self, bodies: Sequence[BodyToStore]) -> int:
        batch_bytes = sum(len(body.raw_message) for body in bodies)
        self._thorough_bytes_left -= batch_bytes
        return THOROUGH_LEVEL if self._thorough_bytes_left >= 0 else FAST_LEVEL

    @staticmethod
    def _newest(connection: Connection, tenant_id: UUID) -> tuple[int, int, datetime | None, float]:
        """Returns (id, generation, made at, ratio at training) of the tenant's newest dictionary, or of the bootstrap one."""
        row = connection.execute(QUERIES["newest_dictionary"], {"tenant_id": tenant_id}).fetchone()
        return (row[0], row[1], row[2], row[3]) if row else (BOOTSTRAP_DICTIONARY_ID, 0, None, 0.0)

    def _newest_or_better(
        self,
        connection: Connection,
        key: TenantKey,
        bodies: Sequence[BodyToStore],
        level: int,
        now: datetime,
        at_step: AtStep,
    ) -> Dictionary:
        newest_id, generation, created_at, trained_ratio = self._newest(connection, key.tenant_id)
        newest = self.for_reading(connection, newest_id).at_level(level)
        if len(bodies) < LEAST_MESSAGES or (created_at is not None and now - created_at < SHORTEST_LIFE):
            return newest
        trial = [body.raw_message for body in bodies[:: max(1, len(bodies) // _TRIAL_MESSAGES)]][:_TRIAL_MESSAGES]
        present_ratio = ratio(newest, trial)
        if created_at is not None and present_ratio >= RETRAIN_BELOW * trained_ratio:
            return newest
        samples = [Sample(body.correspondent, body.raw_message) for body in bodies]
        better = self._train(connection, key, samples, trial, present_ratio, generation + 1, level, now, at_step)
        return better or newest

    def _train(
        self,
        connection: Connection,
        key: TenantKey,
        samples: Sequence[Sample],
        trial: Sequence[bytes],
        present_ratio: float,
        generation: int,
        level: int,
        now: datetime,
        at_step: AtStep,
    ) -> Dictionary | None:
        chosen = choose_samples(samples)
        candidate = self._train_it(chosen, _next_id(connection), level=level)
        if candidate is None:
            return None
        new_ratio = ratio(candidate, trial)
        if new_ratio < LEAST_GAIN * present_ratio:
            return None
        if not self._store(connection, key, candidate, generation, len(chosen), new_ratio, now, at_step):
            return None
        self._remember(candidate)
        return candidate

    def _store(
        self,
        connection: Connection,
        key: TenantKey,
        dictionary: Dictionary,
        generation: int,
        sampled_messages: int,
        trained_ratio: float,
        now: datetime,
        at_step: AtStep,
    ) -> bool:
        """Stores and reads back the object, then makes it known: no frame names a dictionary that is not there.

        Returns whether it is known now; not when it took longer than the lease and was swept away.
        """
        object_key = dictionary_key(key.tenant_id, dictionary.dictionary_id)
        sealed = seal_dictionary(dictionary, key)
        values = {
            "dictionary_id": dictionary.dictionary_id,
            "tenant_id": key.tenant_id,
            "generation": generation,
            "object_key": object_key,
            "size_bytes": len(sealed),
            "sha256": hashlib.sha256(sealed).digest(),
            "key_generation": key.generation,
            "sampled_messages": sampled_messages,
            "minimum_correspondents": MINIMUM_CORRESPONDENTS,
            "trained_ratio": trained_ratio,
            "now": now,
        }
        connection.execute(QUERIES["record_dictionary"], values)
        at_step(TrainingStep.RECORDED)
        self._bucket.put(object_key, sealed)
        at_step(TrainingStep.STORED)
        if self._bucket.get(object_key) != sealed:
            raise ContentDamaged(
                f"object {object_key}", "reads back as other bytes than were stored", "Check the object store."
            )
        live = connection.execute(QUERIES["dictionary_goes_live"], {"dictionary_id": dictionary.dictionary_id})
        at_step(TrainingStep.LIVE)
        return live.rowcount == 1

    def _load(self, connection: Connection, dictionary_id: int) -> Dictionary:
        thing = f"dictionary {dictionary_id}"
        row = connection.execute(QUERIES["locate_dictionary"], {"dictionary_id": dictionary_id}).fetchone()
        if row is None:
            raise ContentDamaged(thing, "is not in the index", "Run 'penguinmails content repair-index'.")
        tenant_id, key_generation, object_key = row
        key = self._keys.for_reading(connection, tenant_id, key_generation)
        return unseal_dictionary(self._bucket.get(object_key), key, dictionary_id)

    def _remember(self, dictionary: Dictionary) -> None:
        with self._lock:
            self._known[dictionary.dictionary_id] = dictionary
            while len(self._known) > _IN_MEMORY:
                self._known.popitem(last=False)


def ratio(dictionary: Dictionary, messages: Sequence[bytes]) -> float:
    """Returns raw bytes for each compressed byte over these messages."""
    compressed = sum(len(compress(message, dictionary)) for message in messages)
    return sum(map(len, messages)) / compressed if compressed else 1.0


def seal_dictionary(dictionary: Dictionary, key: TenantKey) -> bytes:
    """Returns what stands in the dictionary's object (docs/content-format.md)."""
    return seal(zstd.compress(dictionary.content, 9), *_seal_of(key, dictionary.dictionary_id))


def unseal_dictionary(sealed: bytes, key: TenantKey, dictionary_id: int) -> Dictionary:
    """Returns the dictionary of an object.

    Raises:
        ContentDamaged: it was altered, or is another dictionary or tenant's.
    """
    thing = f"dictionary {dictionary_id}"
    opened = unseal(sealed, *_seal_of(key, dictionary_id), thing=thing)
    try:
        content = zstd.ZstdDecompressor().decompress(opened, _MOST_DICTIONARY_BYTES)
    except zstd.ZstdError as error:
        raise ContentDamaged(thing, "cannot be decompressed", "Restore its object from a copy.") from error
    return Dictionary(dictionary_id, content)


def _seal_of(key: TenantKey, dictionary_id: int) -> tuple[bytes, bytes]:
    """Returns key and context of a dictionary; its id is used once, so the key is too."""
    number = struct.pack("<I", dictionary_id)
    return key.derive(b"penguinmails dictionary v1", number), b"PMD1" + key.tenant_id.bytes + number


def _next_id(connection: Connection) -> int:
    row = connection.execute(QUERIES["next_dictionary_id"]).fetchone()
    return int(row[0]) if row else 0
