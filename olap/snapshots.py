"""Going back to an earlier publication, and taking marts elsewhere as Parquet or CSV.

Belongs here: what can be done with published files. Does not belong here: making them (publishing.py).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import orjson

from penguinmails.olap.lock import WAIT_SECONDS, one_at_a_time
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import point_to, snapshot_path, snapshots
from penguinmails.olap.reading import open_marts
from penguinmails.olap.statistics import published_state
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_FORMATS = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}


@dataclass(frozen=True)
class ExportedFile:
    """One exported mart."""

    file: str
    mart: str
    rows: int
    size_bytes: int
    sha256: str


def roll_back(stores: Stores, number: int, *, wait_seconds: float = WAIT_SECONDS) -> Path:
    """Lets readers have publication `number` again; the next publication goes on from the newest facts.

    Raises:
        InputError: it is not kept any more.
    """
    folder = stores.marts_folder
    with one_at_a_time(folder, wait_seconds=wait_seconds):
        path = snapshot_path(folder, number)
        if not path.exists():
            kept = ", ".join(str(int(found.stem.removeprefix("marts-"))) for found in snapshots(folder)) or "none"
            raise InputError(f"publication {number}", "is not kept", f"Kept publications: {kept}.")
        point_to(folder, path)
    return path


def export(
    stores: Stores, folder: Path, *, form: str = "parquet", marts: Sequence[str] = (), tenant_id: UUID | None = None
) -> list[ExportedFile]:
    """Writes marts as files with a manifest; the folder appears whole or not at all.

    Args:
        folder: to be made; must not exist.
        form: parquet or csv.
        marts: names; none for all.
        tenant_id: only this tenant's rows: what may be given to a tenant.

    Raises:
        InputError: the folder exists, or a mart does not.
        NothingPublished: nothing was published yet.
    """
    known = [mart.name for mart in MARTS]
    unknown = [name for name in marts if name not in known]
    if unknown:
        raise InputError(f"mart {unknown[0]}", "does not exist", f"Known marts: {', '.join(known)}.")
    if folder.exists():
        raise InputError(str(folder), "exists already", "Name a folder that does not.")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    files = []
    with open_marts(stores) as connection:
        for name in marts or known:
            path = unfinished / f"{name}.{form}"
            only = "" if tenant_id is None else f" WHERE tenant_id = '{tenant_id}'"
            target = str(path).replace("'", "''")
            connection.execute(f"COPY (SELECT * FROM {name}{only}) TO '{target}' ({_FORMATS[form]})")  # noqa: S608 - declared names, a UUID
            row = connection.execute(f"SELECT COUNT(*) FROM {name}{only}").fetchone()  # noqa: S608
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(ExportedFile(path.name, name, int(row[0]) if row else 0, path.stat().st_size, digest))
    state = published_state(stores)
    manifest = {"number": state.number, "as_of": state.as_of, "tenant_id": tenant_id, "files": [*map(asdict, files)]}
    (unfinished / "manifest.json").write_bytes(orjson.dumps(manifest, default=str, option=orjson.OPT_INDENT_2))
    unfinished.rename(folder)
    return files
