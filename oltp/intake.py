"""Taking mail in: from a source of raw messages to rows, exactly once, whatever happens on the way.

Belongs here: batches, transactions, the report. Does not belong here: formats (mail_sources.py), headers
(mail_parsing.py), rules (intake_mapping.py), one batch (intake_batch.py), statements (intake_writing.py).

The ledger mail_intake is written in the transaction that writes the messages, so a load that was killed goes on where its
last batch ended, a second load of the same source finds everything there, and two loads at once take turns.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg

from penguinmails.oltp import intake_writing as writing
from penguinmails.oltp.connections import Connection, Role, connect, settled
from penguinmails.oltp.intake_batch import Batch, Collision
from penguinmails.oltp.mail_items import MailSource, SourceItem, Workspace
from penguinmails.oltp.young_statistics import YoungStatistics
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import ServerError
from penguinmails.stack.stores import Stores

MAX_BATCH_MESSAGES = 500
MAX_BATCH_BYTES = 16 * 1024 * 1024
_ATTEMPTS = 5


@dataclass(frozen=True)
class IntakeReport:
    """What became of the items of a source: read = loaded + already_there + duplicates + set_aside.

    Args:
        read: items the source gave out.
        loaded: became a message now.
        already_there: were accounted for before.
        duplicates: have the same bytes as another item, whose message they share.
        set_aside: could not be loaded; their bytes and the reason are kept.
        events: events derived or planned.
        size_bytes: bytes of the items read.
        tenants: tenants they belong to.
        reasons: how many were set aside now, by reason code.
        seconds: how long it took.
    """

    read: int
    loaded: int
    already_there: int
    duplicates: int
    set_aside: int
    events: int
    size_bytes: int
    tenants: int
    reasons: dict[str, int]
    seconds: float


def load_mail(
    stores: Stores,
    source: MailSource,
    *,
    clock: Clock = utc_now,
    progress: Callable[[int], None] = lambda _: None,
) -> IntakeReport:
    """Loads every item of a source that is not loaded yet.

    Args:
        stores: where the OLTP database is; its schema must be migrated.
        source: see mail_sources.open_mail and synthetic.synthetic_source.
        clock: time of loading.
        progress: called with the number of items just accounted for.

    Raises:
        InputError: the source is empty.
        ServerError: the database cannot be reached or is not migrated. Whole batches stay; run again to go on.
    """
    began = time.monotonic()
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    prepared: set[UUID] = set()
    statistics = YoungStatistics(stores.oltp_url)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        for workspace, items in _batches(source.items()):
            if workspace.tenant_id not in prepared:
                _prepare(connection, workspace, source)
                prepared.add(workspace.tenant_id)
            for done in _load(connection, source.name, workspace, items, clock):
                counts.update(done.counts)
                reasons.update(entry.reason or "" for entry in done.ledger if entry.outcome == "set_aside")
            counts["read"] += len(items)
            counts["size_bytes"] += sum(item.size_bytes for item in items)
            statistics.loaded(counts["loaded"])
            progress(len(items))
    return IntakeReport(
        read=counts["read"],
        loaded=counts["loaded"],
        already_there=counts["already_there"],
        duplicates=counts["duplicate"],
        set_aside=counts["set_aside"],
        events=counts["events"],
        size_bytes=counts["size_bytes"],
        tenants=len(prepared),
        reasons=dict(reasons),
        seconds=time.monotonic() - began,
    )


def _batches(items: Iterable[SourceItem]) -> Iterator[tuple[Workspace, list[SourceItem]]]:
    """Cuts the stream by number, bytes and workspace, so that memory stays bounded."""
    batch: list[SourceItem] = []
    size_bytes = 0
    for item in items:
        full = len(batch) >= MAX_BATCH_MESSAGES or size_bytes + item.size_bytes > MAX_BATCH_BYTES
        if batch and (full or item.workspace != batch[0].workspace):
            yield batch[0].workspace, batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += item.size_bytes if item.raw is not None else 0
    if batch:
        yield batch[0].workspace, batch


def _prepare(connection: Connection, workspace: Workspace, source: MailSource) -> None:
    with connection.transaction():
        writing.lock_tenant(connection, workspace.tenant_id)
        writing.write_setup(connection, workspace, source.setup)


def _load(
    connection: Connection, source_name: str, workspace: Workspace, items: Sequence[SourceItem], clock: Clock
) -> list[Batch]:
    """Loads a batch; when the database refuses it, loads halves of it until the item that is refused stands alone."""

    def attempt() -> Batch:
        batch = Batch(workspace, clock())
        writing.lock_tenant(connection, workspace.tenant_id)
        batch.read(connection, source_name, items)
        batch.write(connection, source_name)
        return batch

    for _ in range(_ATTEMPTS):
        try:
            return [settled(connection, attempt)]
        except Collision:
            continue
        except (psycopg.DataError, psycopg.errors.CheckViolation):
            if len(items) == 1 and items[0].problem:
                raise
            if len(items) == 1:
                refused = dataclasses.replace(items[0], problem="refused_by_database")
                return _load(connection, source_name, workspace, [refused], clock)
            middle = len(items) // 2
            halves = (items[:middle], items[middle:])
            return [done for half in halves for done in _load(connection, source_name, workspace, half, clock)]
    raise ServerError("mailboxes and leads", "are being added by others all the time", "Load again at a quieter time.")
