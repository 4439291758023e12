"""The landing zone: what was read from the operational database, as immutable Parquet files in the object store.

    landing/manifests/000000000012.json              what belongs to batch 12; written last, so a batch is there or it is not
    landing/email_events/000000000012/<attempt>-00000.parquet

It is the log that marts can be rebuilt from, and what other engines read. A file is never overwritten: every attempt
writes under a name of its own, and what no manifest names belongs to an attempt that was cut short.

Belongs here: writing and reading batches, manifests, their verification. Does not belong here: what is done with rows.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from penguinmails.olap.errors import LandingDamaged
from penguinmails.olap.extraction import Days, Mark
from penguinmails.olap.read_ahead import read_ahead
from penguinmails.olap.sources import Source
from penguinmails.stack.object_store import Bucket, ObjectMissing

ROOT = "landing"
_FORMAT = 1
_PART_ROWS = 1_000_000
"""Rows of one file: about 50 MB, which is held in memory once while it is sent."""
_FETCHED_AT_ONCE = 3
_ROW_GROUP_ROWS = 131_072
_ZSTD_LEVEL = 1


@dataclass(frozen=True)
class Part:
    """One Parquet file of a batch."""

    key: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class LandedSource:
    """What one batch holds of one table.

    Args:
        whole: the rows are the whole table and take the place of all before; otherwise they are changes of it.
        days: days of events that are complete here: what is not here of them was deleted.
    """

    whole: bool
    rows: int
    parts: tuple[Part, ...]
    days: Days | None = None

    @property
    def content(self) -> str:
        """Equal for equal content written by the same release of Arrow."""
        return hashlib.sha256("".join(part.sha256 for part in self.parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Manifest:
    """What belongs to one batch.

    Args:
        batch: number of the batch, from 1 on without a gap.
        base: number of the batch in which everything was read; what is known is that batch and all after it.
        previous: moment that the changes are relative to; None when everything was read.
        mark: moment up to which the batch reads.
        sources: by table; a table that did not change is absent.
        fingerprints: by table, the fingerprint of the columns that are known of it from here on.
        contents: by table read whole, the content it had at this moment.
    """

    batch: int
    base: int
    previous: Mark | None
    mark: Mark
    sources: dict[str, LandedSource]
    fingerprints: dict[str, str]
    contents: dict[str, str]

    @property
    def key(self) -> str:
        return manifest_key(self.batch)

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources.values())

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for source in self.sources.values() for part in source.parts)

    def to_json(self) -> bytes:
        return orjson.dumps({"format": _FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Raises `LandingDamaged` when the text is no manifest of a format that this release knows."""
        try:
            document = orjson.loads(text)
            return cls(
                batch=document["batch"],
                base=document["base"],
                previous=_mark(document["previous"]) if document["previous"] else None,
                mark=_mark(document["mark"]),
                sources={table: _landed(found) for table, found in document["sources"].items()},
                fingerprints=document["fingerprints"],
                contents=document["contents"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LandingDamaged(
                "a manifest of the landing zone",
                "cannot be read by this release",
                "Restore it, or run 'penguinmails marts rebuild --from-database'.",
            ) from error


def manifest_key(batch: int) -> str:
    return f"{ROOT}/manifests/{batch:012d}.json"


class Landing:
    """The landing zone of one bucket, with a folder of this machine for files on their way."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket = bucket
        self._folder = folder

    def has(self, batch: int) -> bool:
        """True when the batch is complete."""
        return self._bucket.size_bytes(manifest_key(batch)) is not None

    def newest(self) -> int:
        """Returns the number of the newest complete batch, 0 when there is none. Lists all manifests: ask rarely."""
        names = (Path(entry.key).stem for entry in self._bucket.list(f"{ROOT}/manifests/"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def batches_after(self, batch: int) -> Iterator[int]:
        """Yields the numbers of the complete batches that follow, in order.

        Asks for one manifest after the other: a live path makes too many of them to list each time.
        """
        while self.has(batch := batch + 1):
            yield batch

    def chain(self) -> range:
        """Returns the numbers of the batches from which everything known can be made anew; empty when there is none.

        Raises:
            LandingDamaged: the newest manifest is missing or unreadable.
        """
        newest = self.newest()
        return range(self.manifest(newest).base, newest + 1) if newest else range(0)

    def manifest(self, batch: int) -> Manifest:
        """Returns the manifest of a batch.

        Raises:
            LandingDamaged: it is missing or unreadable.
        """
        try:
            return Manifest.from_json(self._bucket.get(manifest_key(batch)))
        except ObjectMissing:
            raise LandingDamaged(
                f"batch {batch} of the landing zone",
                "has no manifest",
                "Restore it, or run 'penguinmails marts rebuild --from-database'.",
            ) from None

    def manifests(self, batches: Iterable[int]) -> list[Manifest]:
        """Returns the manifests of batches, in order; a long chain has many, so some are asked for at a time.

        Raises:
            LandingDamaged: one is missing or unreadable.
        """
        with ThreadPoolExecutor(max_workers=_FETCHED_AT_ONCE, thread_name_prefix="landing") as fetchers:
            return list(fetchers.map(self.manifest, batches))

    def write(
        self,
        source: Source,
        batch: int,
        batches: Iterable[pa.RecordBatch],
        *,
        whole: bool,
        days: Days | None = None,
        send_at_once: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> LandedSource:
        """Writes rows into Parquet files on this machine.

        Args:
            send_at_once: each file is sent while the next is being written, for rows that will be landed in any case;
                otherwise `send` brings them into the object store.
        """
        folder = self._local_folder(source.table, batch)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        attempt = uuid.uuid4().hex[:8]
        parts: list[Part] = []
        finishing: Future[Part] | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="landing") as finisher:
            for path in _parquet_files(source, read_ahead(batches), folder, attempt, progress):
                if finishing is not None:  # one at a time: memory stays bounded, and an error ends the reading
                    parts.append(finishing.result())
                key = f"{ROOT}/{source.table}/{batch:012d}/{path.name}"
                finishing = finisher.submit(self._finish, path, key, send=send_at_once)
            if finishing is not None:
                parts.append(finishing.result())
        return LandedSource(whole, sum(part.rows for part in parts), tuple(parts), days)

    def send(self, landed: LandedSource) -> None:
        """Stores the files of a table that `write` was not told to send at once."""
        for part in landed.parts:
            self._bucket.put(part.key, self._local_path(part).read_bytes())

    def complete(self, manifest: Manifest) -> None:
        """Writes the manifest: from here on the batch exists."""
        self._bucket.put(manifest.key, manifest.to_json())

    def fetch(self, *landed: LandedSource) -> list[list[Path]]:
        """Returns the files of tables on this machine, verified, brought from the object store where needed.

        Raises:
            LandingDamaged: a file is missing or is not what the manifest says.
        """
        with ThreadPoolExecutor(max_workers=_FETCHED_AT_ONCE, thread_name_prefix="landing") as fetchers:
            found = fetchers.map(self._fetch, [part for each in landed for part in each.parts])
            return [[next(found) for _ in each.parts] for each in landed]

    def forget(self, batch: int | None = None) -> None:
        """Removes this machine's copies of a batch, or of all: what killed attempts left behind too."""
        for folder in self._folder.glob("*" if batch is None else f"*/{batch:012d}"):
            shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, path: Path, key: str, *, send: bool) -> Part:
        body = path.read_bytes()
        if send:
            self._bucket.put(key, body)
        return Part(key, pq.read_metadata(path).num_rows, len(body), hashlib.sha256(body).hexdigest())

    def _fetch(self, part: Part) -> Path:
        path = self._local_path(part)
        if path.exists() and path.stat().st_size == part.size_bytes and _sha256(path) == part.sha256:
            return path
        remedy = "Restore the object, or run 'penguinmails marts rebuild --from-database'."
        try:
            body = self._bucket.get(part.key)
        except ObjectMissing:
            raise LandingDamaged(f"object {part.key}", "is missing", remedy) from None
        if hashlib.sha256(body).hexdigest() != part.sha256:
            raise LandingDamaged(f"object {part.key}", "is not what its manifest says", remedy)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    def _local_folder(self, table: str, batch: int) -> Path:
        return self._folder / table / f"{batch:012d}"

    def _local_path(self, part: Part) -> Path:
        return self._folder / part.key.removeprefix(f"{ROOT}/")


def _parquet_files(
    source: Source, batches: Iterable[pa.RecordBatch], folder: Path, attempt: str, progress: Callable[[int], None]
) -> Iterator[Path]:
    """Yields files of at most `_PART_ROWS` rows, each closed when it is yielded; none when there are no rows."""
    path: Path | None = None
    writer: pq.ParquetWriter | None = None
    number = rows = 0
    try:
        for batch in batches:
            for piece in _pieces(batch):
                if writer is None:
                    path = folder / f"{attempt}-{number:05d}.parquet"
                    writer = _writer(source, path)
                writer.write_batch(piece, row_group_size=_ROW_GROUP_ROWS)
                rows += piece.num_rows
                progress(piece.num_rows)
                if rows >= _PART_ROWS and path is not None:
                    writer.close()
                    writer, rows, number = None, 0, number + 1
                    yield path
        if writer is not None and path is not None:
            writer.close()
            yield path
    finally:
        if writer is not None:
            writer.close()


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _ROW_GROUP_ROWS):
        yield batch.slice(start, _ROW_GROUP_ROWS)


def _writer(source: Source, path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        source.arrow_schema,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=[column.name for column in source.columns if not column.distinct],
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(document: dict[str, Any]) -> Mark:
    return Mark(**{**document, "as_of": datetime.fromisoformat(document["as_of"])})


def _landed(document: dict[str, Any]) -> LandedSource:
    days = document.get("days") and Days(*(date.fromisoformat(document["days"][name]) for name in ("first", "after")))
    return LandedSource(**{**document, "parts": tuple(Part(**part) for part in document["parts"]), "days": days})
