"""The roll-up: what is new in the operational database, landed and brought into the facts.

Every step may be killed and run again. The order is: the files of a batch, its manifest, its application to the build
together with the position. So a batch that is complete but not applied is applied first, and files without a manifest
count for nothing.

Belongs here: that order. Does not belong here: any of its steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from penguinmails.olap.apply import apply_batch
from penguinmails.olap.build import Build, Position, open_build, remove_build, set_position
from penguinmails.olap.errors import BuildBusy
from penguinmails.olap.extraction import Days, Extraction, open_extraction
from penguinmails.olap.facts import FACTS
from penguinmails.olap.landing import LandedSource, Landing, Manifest
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.rebuilding import rebuild_from_landing
from penguinmails.olap.sources import EMAIL_EVENTS, FOLLOWED, SOURCES, TENANTS, ReadMode, Source
from penguinmails.stack.clock import utc_now
from penguinmails.stack.object_store import Bucket, BucketAddress
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class RollUpReport:
    """What a roll-up did.

    Args:
        batches: batches brought into the facts, those that an earlier run left behind included.
        rows_extracted: rows read from the operational database and landed by this run.
        rows_changed: events and messages that were news to the facts.
        days_touched: days whose facts may have changed and that have not been reconciled since.
        events_quarantined: events that cannot count now, in all.
        fact_rows: rows of every fact, by its name.
        landed_bytes: size of what this run landed.
        as_of: everything committed before this time is in the facts.
        seconds: how long it took.
    """

    batches: int
    rows_extracted: int
    rows_changed: int
    days_touched: int
    events_quarantined: int
    fact_rows: dict[str, int]
    landed_bytes: int
    as_of: datetime
    seconds: float


@lru_cache(maxsize=4)
def _bucket(address: BucketAddress, _process: int) -> Bucket:
    """One client a process: making one takes longer than a small roll-up."""
    return Bucket(address)


def _no_progress(_: int) -> None:
    return None


def roll_up(
    stores: Stores,
    *,
    clock: Callable[[], datetime] = utc_now,
    progress: Callable[[int], None] = _no_progress,
    wait_seconds: float = WAIT_SECONDS,
    days: Days | None = None,
) -> RollUpReport:
    """Brings everything committed in the operational database so far into the facts.

    Args:
        days: days whose events are read again and whole: the backfill of days, and the way in which events that were
            deleted in the operational database leave the facts.
        progress: called with the number of rows just read.
        wait_seconds: how long to wait for another roll-up or publication to finish.

    Raises:
        SourceUnavailable: the operational database cannot be read.
        CursorUnusable: it is not the one, or not a later state of the one, that was read last.
        LandingDamaged: the landing zone lacks something.
        BuildBusy: another process did not finish in time.
    """
    started_at = clock()
    with one_at_a_time(stores.marts_folder, wait_seconds=wait_seconds):
        landing = landing_of(stores)
        with open_build(stores.marts_folder) as build:
            if not build.made_by_these_definitions():
                build.empty()
            batches, changed = apply_chain(build, landing)
            position = build.position()
            batch = position.batch + 1 if position else 1
            manifest = extract(stores, landing, position, batch=batch, days=days, progress=progress)
            if manifest.sources:
                changed += _apply(build, landing, manifest)
                batches += 1
            else:
                _move_on(build, manifest)
            landing.forget()
            return RollUpReport(
                batches=batches,
                rows_extracted=manifest.rows,
                rows_changed=changed,
                days_touched=_count(build, "SELECT COUNT(DISTINCT day) FROM touched_days"),
                events_quarantined=_count(build, "SELECT COUNT(*) FROM quarantined_events"),
                fact_rows={fact.name: _count(build, f"SELECT COUNT(*) FROM {fact.name}") for fact in FACTS},  # noqa: S608
                landed_bytes=manifest.size_bytes,
                as_of=manifest.mark.as_of,
                seconds=(clock() - started_at).total_seconds(),
            )


def landing_of(stores: Stores, *, incoming: Path | None = None) -> Landing:
    """Returns the landing zone of these stores; files on their way are kept in `incoming`."""
    return Landing(_bucket(stores.bucket, os.getpid()), incoming or stores.marts_folder / "incoming")


def rebuild(
    stores: Stores,
    *,
    from_database: bool = False,
    clock: Callable[[], datetime] = utc_now,
    progress: Callable[[int], None] = _no_progress,
    wait_seconds: float = WAIT_SECONDS,
) -> RollUpReport:
    """Makes the facts anew, from the landing zone or from the operational database, then goes on as a roll-up.

    Args:
        from_database: read everything anew. What the operational database has dropped since is then gone from the marts.

    Raises:
        What `roll_up` raises.
    """
    with one_at_a_time(stores.marts_folder, wait_seconds=wait_seconds):
        landing = landing_of(stores)
        if from_database:
            extract(stores, landing, None, batch=landing.newest() + 1, progress=progress)
        remove_build(stores.marts_folder)
    return roll_up(stores, clock=clock, progress=progress, wait_seconds=wait_seconds)


def apply_chain(build: Build, landing: Landing, *, up_to: int | None = None) -> tuple[int, int]:
    """Applies the batches that follow the build's position, or all of them when it is empty.

    Args:
        up_to: number of the last batch to apply; None for the newest.

    Returns:
        How many batches were applied and how many events and messages were news.

    Raises:
        LandingDamaged: a manifest or a file is missing or wrong; what came before it is applied.
    """
    batches = changed = 0
    position = build.position()
    if position is None:
        manifests = landing.manifests(batch for batch in landing.chain() if up_to is None or batch <= up_to)
        return len(manifests), _rebuild(build, landing, manifests) if manifests else 0
    for batch in landing.batches_after(position.batch):
        if up_to is not None and batch > up_to:
            break
        changed += _apply(build, landing, landing.manifest(batch))
        batches += 1
    return batches, changed


def extract(
    stores: Stores,
    landing: Landing,
    position: Position | None,
    *,
    batch: int,
    days: Days | None = None,
    progress: Callable[[int], None] = _no_progress,
) -> Manifest:
    """Reads what changed since `position` and lands it as `batch`; lands nothing when nothing changed.

    Returns:
        The batch's manifest; without sources when nothing was landed.
    """
    with open_extraction(stores.oltp_url) as extraction:
        if landing.has(batch):  # between our look at the landing zone and our lock on the database
            raise BuildBusy("the marts", "were just extracted on another machine", "Run again.")
        last = landing.manifest(position.batch) if position else None
        if position:
            extraction.compare_with(position.mark)
        written = {
            source.table: landed
            for source in SOURCES
            if (landed := _extract_source(extraction, landing, source, batch, last, days, progress)) is not None
        }
        whole = {table: landed.content for table, landed in written.items() if landed.whole}
        manifest = Manifest(
            batch=batch,
            base=last.base if last else batch,
            previous=position.mark if position else None,
            mark=extraction.mark,
            sources=written,
            fingerprints={source.table: source.fingerprint for source in SOURCES},
            contents=(last.contents if last else {}) | whole,
        )
        if written:
            for source in SOURCES:
                if source.table in written and source.mode is ReadMode.WHOLE:  # the others went while they were read
                    landing.send(written[source.table])
            landing.complete(manifest)
        return manifest


def _extract_source(
    extraction: Extraction,
    landing: Landing,
    source: Source,
    batch: int,
    last: Manifest | None,
    days: Days | None,
    progress: Callable[[int], None],
) -> LandedSource | None:
    """Returns what was written of a table, None when it did not change since the last batch.

    When other columns are declared than the last batch was read with, everything is read again; a table that is followed
    by its changes keeps the rows that the operational database has dropped since.
    """
    known = last is not None and last.fingerprints.get(source.table) == source.fingerprint
    whole = source.mode is ReadMode.WHOLE or last is None
    complete = days if source is EMAIL_EVENTS and known else None
    rows = extraction.batches(source, changes=known, days=complete)
    followed = source.mode is ReadMode.CHANGES
    landed = landing.write(source, batch, rows, whole=whole, days=complete, send_at_once=followed, progress=progress)
    if not whole:
        return landed if landed.rows or complete else None
    unchanged = known and last is not None and last.contents.get(source.table) == landed.content
    return None if unchanged else landed


def _rebuild(build: Build, landing: Landing, manifests: Sequence[Manifest]) -> int:
    whole_chain = {source.table for source in (*FOLLOWED, TENANTS)}
    needed: dict[tuple[str, int], LandedSource] = {}
    found: set[str] = set()
    for manifest in reversed(manifests):
        for table, landed in manifest.sources.items():
            if table in whole_chain or table not in found:  # of a table read whole the newest is enough
                needed[table, manifest.batch] = landed
        found.update(manifest.sources)
    files: dict[str, dict[int, list[Path]]] = {}
    for (table, batch), paths in zip(needed, landing.fetch(*needed.values()), strict=True):
        files.setdefault(table, {})[batch] = paths
    changed = rebuild_from_landing(build, manifests, files)
    landing.forget()
    return changed


def _apply(build: Build, landing: Landing, manifest: Manifest) -> int:
    if manifest.base == manifest.batch:
        return _rebuild(build, landing, [manifest])
    files = dict(zip(manifest.sources, landing.fetch(*manifest.sources.values()), strict=True))
    changed = apply_batch(build, manifest, files)
    landing.forget(manifest.batch)  # at once: a long chain would fill the disk
    return changed


def _move_on(build: Build, manifest: Manifest) -> None:
    """Nothing changed: the position keeps its batch and snapshot, from which a later difference is as right."""
    position = build.position()
    if position is None:
        return
    with build.connection.cursor() as cursor:
        cursor.execute("BEGIN")
        set_position(cursor, position.batch, replace(position.mark, as_of=manifest.mark.as_of))
        cursor.execute("COMMIT")


def _count(build: Build, statement: str) -> int:
    row = build.connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
