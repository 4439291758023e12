"""Objects in the bucket that the index has no reason to keep, found by listing.

The sweep needs no listing, because a pack's row is written before its object. What is left for a listing is what came
about behind the index's back: a restored copy of the bucket, a store that said "deleted" and kept it. An index restored
from an old backup looks the same from here, and then the unknown objects are mail. So nothing goes unless every message in
every unknown pack is accounted for elsewhere, the pack is old enough, and all of them together are a small part of what is
there; otherwise nothing at all is deleted.

Belongs here: that comparison. Does not belong here: packs the index has given up (sweeping.py), mending an index
(repair.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import PurePosixPath
from uuid import UUID

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.errors import TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.pack import read_directory, read_header
from penguinmails.content_store.steps import AtStep, SweepStep, no_step
from penguinmails.content_store.storage_layout import PACK_SUFFIX, PREFIX, storage_key
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.object_store import Bucket, ObjectInfo
from penguinmails.stack.stores import Stores

LEAST_AGE = timedelta(hours=24)
"""Of a pack, by the time in its id: whatever is on its way is younger."""
MOST_SHARE = 0.01
"""Of the bytes in the bucket: more than that going at once is a sign that the index is not whole."""
_PAGE = 1_000


@dataclass(frozen=True)
class OrphanReport:
    """What the comparison found."""

    objects: int
    size_bytes: int
    orphans: tuple[str, ...]
    """Packs whose every message is accounted for elsewhere."""
    orphan_bytes: int
    not_understood: tuple[str, ...]
    """Unknown objects that may hold mail: packs with messages the index lacks, and whatever is no pack."""
    too_young: int
    refused: str
    """Why nothing may be deleted; empty when it may."""
    deleted: int


def find_orphans(
    stores: Stores,
    *,
    clock: Callable[[], datetime],
    execute: bool = False,
    most_share: float = MOST_SHARE,
    at_step: AtStep = no_step,
) -> OrphanReport:
    """Compares the bucket with the index; with `execute` deletes the orphans, or says why it refuses to.

    Args:
        most_share: of the bytes in the bucket that may go.
        at_step: told each step that is now durable.

    Raises:
        ServerError: a store does not answer; run it again.
    """
    bucket, now = open_bucket(stores), clock()
    objects, size_bytes, orphan_bytes, too_young = 0, 0, 0, 0
    orphans, not_understood = list[str](), list[str]()
    with typed_errors(), connect(stores) as connection:
        keys = KeyRing(key_source(stores))
        listing = bucket.list(PREFIX)
        while page := tuple(islice(listing, _PAGE)):
            objects, size_bytes = objects + len(page), size_bytes + sum(entry.size_bytes for entry in page)
            for entry in _unknown(connection, page):
                made_at = _made_at(entry.key)
                if made_at is None:
                    not_understood.append(entry.key)
                elif now - made_at < LEAST_AGE:
                    too_young += 1
                elif _is_accounted_for(connection, bucket, keys, entry.key):
                    orphans.append(entry.key)
                    orphan_bytes += entry.size_bytes
                else:
                    not_understood.append(entry.key)
    refused = ""
    if not_understood:
        refused = f"{len(not_understood)} objects may hold mail that the index has lost; run repair-index first"
    elif orphan_bytes > most_share * size_bytes:
        refused = f"{orphan_bytes} of {size_bytes} bytes are more than may go at once ({most_share:.1%})"
    deleted = 0
    if execute and orphans and not refused:
        bucket.delete(orphans)
        at_step(SweepStep.OBJECTS_DELETED)
        deleted = sum(bucket.size_bytes(name) is None for name in orphans)
    return OrphanReport(
        objects, size_bytes, tuple(orphans), orphan_bytes, tuple(not_understood), too_young, refused, deleted
    )


def _unknown(connection: Connection, page: tuple[ObjectInfo, ...]) -> Iterator[ObjectInfo]:
    values = {"object_keys": [entry.key for entry in page]}
    known = {name for (name,) in connection.execute(QUERIES["known_object_keys"], values).fetchall()}
    yield from (entry for entry in page if entry.key not in known)


def _made_at(object_key: str) -> datetime | None:
    """Returns when a pack was begun, from the UUIDv7 in its name; None of what is no pack."""
    try:
        pack_id = UUID(PurePosixPath(object_key).name.removesuffix(PACK_SUFFIX))
    except ValueError:
        return None
    if not object_key.endswith(PACK_SUFFIX) or pack_id.version != 7:
        return None
    return datetime.fromtimestamp((pack_id.int >> 80) / 1000, UTC)


def _is_accounted_for(connection: Connection, bucket: Bucket, keys: KeyRing, object_key: str) -> bool:
    """Returns whether every message of a pack was erased, or is in another pack whose object is there."""
    content = bucket.get(object_key)
    try:
        header = read_header(content, thing=object_key)
        key = keys.for_reading(connection, header.tenant_id, header.key_generation)
        directory = read_directory(content, key, thing=object_key)
    except (IntegrityError, TenantKeyMissing, TenantKeyWrong):
        return False
    names = [storage_key(header.tenant_id, entry.message_id) for entry in directory.entries]
    places = connection.execute(QUERIES["places_of_names"], {"storage_keys": names}).fetchall()
    return all(place is not None and bucket.size_bytes(place) is not None for (place,) in places)
