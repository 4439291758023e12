"""Removing the objects of packs that nothing points to: abandoned by a dead builder, or condemned by compaction.

No listing of the bucket is needed: a pack's row is written before its object.

Belongs here: that removal. Does not belong here: deciding that a live pack is no longer needed (compaction.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.index import QUERIES, Connection, connect, typed_errors
from penguinmails.content_store.steps import AtStep, SweepStep, no_step
from penguinmails.content_store.storage_layout import LEASE
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

_PAGE = 500


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did."""

    packs_given_up: int
    packs_deleted: int


def sweep(stores: Stores, *, clock: Callable[[], datetime], at_step: AtStep = no_step) -> SweepReport:
    """Deletes condemned packs and those whose builder died; safe to run at any time, any number at once.

    Raises:
        ServerError: the object store or the content database does not answer; run again.
    """
    bucket, deleted = open_bucket(stores), 0
    with typed_errors(), connect(stores) as connection:
        now = clock()
        given_up = connection.execute(QUERIES["condemn_abandoned_packs"], {"now": now}).fetchall()
        at_step(SweepStep.GIVEN_UP)
        while page := connection.execute(QUERIES["packs_to_delete"], {"now": now, "limit": _PAGE}).fetchall():
            bucket.delete([object_key for _, object_key in page])
            at_step(SweepStep.OBJECTS_DELETED)
            gone = [pack_id for pack_id, object_key in page if bucket.size_bytes(object_key) is None]
            for pack_id in gone:
                connection.execute(QUERIES["pack_is_deleted"], {"pack_id": pack_id, "now": now})
            at_step(SweepStep.ROWS_MARKED)
            deleted += len(gone)
            if len(gone) < len(page):
                break  # the store says deleted and still has some: the next sweep asks again
        _forget_dictionaries(connection, bucket, started_before=now - LEASE)
    return SweepReport(len(given_up), deleted)


def _forget_dictionaries(connection: Connection, bucket: Bucket, *, started_before: datetime) -> None:
    """Removes dictionaries whose training died or whose tenant was erased: the object first, then the row that knows of it."""
    values = {"started_before": started_before, "limit": _PAGE}
    while page := connection.execute(QUERIES["abandoned_dictionaries"], values).fetchall():
        bucket.delete([object_key for _, object_key in page])
        for dictionary_id, _ in page:
            connection.execute(QUERIES["forget_abandoned_dictionary"], {"dictionary_id": dictionary_id})
