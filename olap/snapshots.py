"""What can be done with published files: see which are kept, go back to one, take marts elsewhere.

Belongs here: exports as Parquet, CSV or one DuckDB file. Does not belong here: making published files (publishing.py).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import duckdb
import orjson

from penguinmails.olap.build import SQL
from penguinmails.olap.declarations import Mart
from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.mart_file import STORAGE_VERSION
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import point_to, published_at_of
from penguinmails.olap.reading import kept_snapshot, newest_snapshot, number_of, open_marts, snapshots
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

FORMATS = ("parquet", "csv", "duckdb")
_OPTIONS = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}
_EXPORT = Queries(SQL / "export.sql")


@dataclass(frozen=True)
class Snapshot:
    """One kept published file.

    Args:
        is_newest: readers get this one.
    """

    number: int
    published_at: datetime
    size_bytes: int
    is_newest: bool


@dataclass(frozen=True)
class ExportedFile:
    """One exported mart; of a DuckDB file, the whole of it."""

    file: str
    mart: str
    rows: int
    size_bytes: int
    sha256: str


def kept_snapshots(stores: Stores) -> list[Snapshot]:
    """Returns the kept published files, oldest first.

    Raises:
        NothingPublished: nothing was published yet.
    """
    newest = newest_snapshot(stores.marts_folder)
    return [
        Snapshot(number_of(path), published_at_of(path), path.stat().st_size, path.name == newest.name)
        for path in snapshots(stores.marts_folder)
    ]


def roll_back(stores: Stores, number: int, *, wait_seconds: float = WAIT_SECONDS) -> Path:
    """Lets readers have publication `number` again; the next publication goes on from the newest facts.

    Raises:
        InputError: it is not kept any more.
        BuildBusy: another process did not finish in time.
    """
    folder = stores.marts_folder
    with one_at_a_time(folder, wait_seconds=wait_seconds):
        path = kept_snapshot(folder, number)
        point_to(folder, path)
    return path


def export(
    stores: Stores,
    folder: Path,
    *,
    form: str = "parquet",
    marts: Sequence[str] = (),
    tenant_id: UUID | None = None,
) -> list[ExportedFile]:
    """Writes marts as files with a manifest, all from one publication; the folder appears whole or not at all.

    Args:
        folder: to be made; must not exist.
        form: parquet, csv, or duckdb for one file with all of them and their comments.
        marts: names; none for all.
        tenant_id: only this tenant's rows: what may be given to a tenant.

    Raises:
        InputError: the folder exists or cannot be written, a mart does not exist, or the marts know no such tenant.
        NothingPublished: nothing was published yet.
    """
    chosen = _chosen(marts)
    if folder.exists():
        raise InputError(str(folder), "exists already", "Name a folder that does not.")
    unfinished = folder.with_name(folder.name + ".unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with open_marts(stores) as connection:
            number, as_of = connection.execute("SELECT number, as_of FROM _meta").fetchall()[0]
            _require_tenant(connection, tenant_id)
            write = _as_one_file if form == "duckdb" else _as_files
            files = list(write(connection, chosen, unfinished, form, tenant_id))
        manifest = {"number": number, "as_of": as_of.replace(tzinfo=UTC), "tenant_id": tenant_id}
        document = manifest | {"files": [*map(asdict, files)]}
        (unfinished / "manifest.json").write_bytes(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2))
        unfinished.rename(folder)
    except (OSError, duckdb.IOException) as error:
        problem = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(str(folder), f"cannot be written ({problem})", "Make room or name another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return files


def _chosen(names: Sequence[str]) -> list[Mart]:
    known = {mart.name: mart for mart in MARTS}
    for name in names:
        if name not in known:
            raise InputError(f"mart {name}", "does not exist", f"Known marts: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names or known)]


def _require_tenant(connection: duckdb.DuckDBPyConnection, tenant_id: UUID | None) -> None:
    if tenant_id is not None and not connection.execute(_EXPORT["tenant"], {"tenant_id": tenant_id}).fetchall():
        raise InputError(
            f"tenant {tenant_id}",
            "is not in the published marts",
            "See 'penguinmails sql \"SELECT tenant_id FROM executive_business_summary\"'; a new tenant comes with the next "
            "publication.",
        )


def _as_files(
    connection: duckdb.DuckDBPyConnection, marts: Sequence[Mart], folder: Path, form: str, tenant_id: UUID | None
) -> Iterator[ExportedFile]:
    for mart in marts:
        path = folder / f"{mart.name}.{form}"
        names = {"mart": mart.name, "only": _only(tenant_id), "key": ", ".join(mart.key)}
        target = {"path": _literal(str(path)), "options": _OPTIONS[form]}
        ((rows,),) = connection.execute(_EXPORT["write"].format(**names, **target)).fetchall()
        yield _exported(path, mart.name, int(rows))


def _as_one_file(
    connection: duckdb.DuckDBPyConnection, marts: Sequence[Mart], folder: Path, _: str, tenant_id: UUID | None
) -> Iterator[ExportedFile]:
    path = folder / "marts.duckdb"
    total = 0
    connection.execute(_EXPORT["attach"].format(path=_literal(str(path)), storage_version=_literal(STORAGE_VERSION)))
    for mart in marts:
        names = {"mart": mart.name, "only": _only(tenant_id), "key": ", ".join(mart.key)}
        ((rows,),) = connection.execute(_EXPORT["copy"].format(**names)).fetchall()
        total += int(rows)
        connection.execute(_EXPORT["comment"].format(mart=mart.name, comment=_literal(mart.description)))
        for column in mart.columns:
            comment = {"column": column.name, "comment": _literal(column.comment)}
            connection.execute(_EXPORT["comment_on_column"].format(mart=mart.name, **comment))
    connection.execute(_EXPORT["metrics"])
    connection.execute(_EXPORT["detach"])
    yield _exported(path, ", ".join(mart.name for mart in marts), total)


def _exported(path: Path, mart: str, rows: int) -> ExportedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(path.name, mart, rows, path.stat().st_size, digest)


def _only(tenant_id: UUID | None) -> str:
    return "TRUE" if tenant_id is None else f"tenant_id = {_literal(str(tenant_id))}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
