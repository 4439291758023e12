"""One peer moving all events once, in a process of its own, run by peers.py with the interpreter that has the peers installed.

`peer_process.py NAME FOLDER` with PEER_POSTGRES_URL set; FOLDER takes the files. Each peer is used as its own documentation
advises for throughput. Prints one JSON document.

Belongs here: how each peer is called. Does not belong here: what is compared (peers.py); nothing of ours is imported.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

URL = os.environ.get("PEER_POSTGRES_URL", "")
COLUMNS = ("tenant_id", "id", "message_id", "event_type", "occurred_at", "ingested_at")
QUERY = f"SELECT {', '.join(COLUMNS)} FROM email_events"
BATCH_ROWS = 131_072
Way = Callable[[Path], int]


def duckdb_extension(folder: Path) -> int:
    """DuckDB's own reader of PostgreSQL, straight into Parquet."""
    import duckdb
    from duckdb_extensions import import_extension

    import_extension("postgres_scanner")
    connection = duckdb.connect()
    connection.execute("LOAD postgres_scanner")
    connection.execute(f"ATTACH '{URL}' AS source (TYPE postgres, READ_ONLY)")
    columns = ", ".join(COLUMNS)
    target = f"'{folder}/events.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    connection.execute(f"COPY (SELECT {columns} FROM source.public.email_events) TO {target}")
    return rows_of_files(folder)


def connectorx_to_arrow(_: Path) -> int:
    """ConnectorX into one Arrow table; a partitioned read has no common snapshot, so one connection reads."""
    import connectorx

    return int(connectorx.read_sql(with_host_in_front(URL), QUERY, return_type="arrow").num_rows)


def connectorx(folder: Path) -> int:
    """The same, then written as Parquet."""
    import connectorx as peer
    import pyarrow.parquet as pq

    table = peer.read_sql(with_host_in_front(URL), QUERY, return_type="arrow")
    pq.write_table(table, folder / "events.parquet", compression="zstd", compression_level=1)
    return int(table.num_rows)


def psycopg_to_arrow(_: Path) -> int:
    """psycopg's binary COPY, its own typed rows, made into Arrow batches."""
    return sum(batch.num_rows for batch in _psycopg_batches())


def psycopg(folder: Path) -> int:
    """The same, then written as Parquet."""
    import pyarrow.parquet as pq

    writer = None
    rows = 0
    for batch in _psycopg_batches():
        writer = writer or pq.ParquetWriter(
            folder / "events.parquet", batch.schema, compression="zstd", compression_level=1
        )
        writer.write_batch(batch)
        rows += batch.num_rows
    if writer:
        writer.close()
    return rows


def _psycopg_batches() -> Iterator[Any]:
    import psycopg as peer
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.binary(16)) for name in COLUMNS[:3]]
        + [("event_type", pa.string())]
        + [(name, pa.timestamp("us", "UTC")) for name in COLUMNS[4:]]
    )
    with (
        peer.connect(URL) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({QUERY}) TO STDOUT (FORMAT BINARY)") as copy,
    ):
        copy.set_types(["uuid", "uuid", "uuid", "text", "timestamptz", "timestamptz"])
        held: list[Any] = []
        for row in copy.rows():
            held.append((row[0].bytes, row[1].bytes, row[2].bytes, *row[3:]))
            if len(held) == BATCH_ROWS:
                yield pa.record_batch(list(zip(*held, strict=True)), schema=schema)
                held = []
        if held:
            yield pa.record_batch(list(zip(*held, strict=True)), schema=schema)


def dlt_connectorx(folder: Path) -> int:
    """dlt with its fastest backend, into Parquet files."""
    return _dlt(folder, "connectorx", {"return_type": "arrow", "conn": with_host_in_front(URL)})


def dlt_pyarrow(folder: Path) -> int:
    """dlt with the backend it advises when types matter."""
    return _dlt(folder, "pyarrow", {"tz": "UTC"})


def _dlt(folder: Path, backend: str, options: dict[str, Any]) -> int:
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    pipeline = dlt.pipeline(
        "events",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri()),
        dataset_name="events",
    )
    table = sql_table(
        credentials=URL.replace("postgresql://", "postgresql+psycopg2://"),
        table="email_events",
        schema="public",
        backend=backend,
        backend_kwargs=options,
        chunk_size=BATCH_ROWS,
        included_columns=list(COLUMNS),
        reflection_level="minimal",
    )
    pipeline.run(table, loader_file_format="parquet")
    return rows_of_files(folder / "out" / "events" / "email_events")


def sling(folder: Path) -> int:
    """sling, whose package fetches its program from elsewhere at its first start."""
    program = Path(sys.executable).with_name("sling")
    target = f"file://{folder}/events.parquet"
    command = [program, "run", "--src-conn", URL, "--src-stream", QUERY, "--tgt-object", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        sys.exit(f"sling cannot run here: {(done.stderr or done.stdout).strip()[-300:]}")
    return rows_of_files(folder)


def rows_of_files(folder: Path) -> int:
    """Returns the rows of all Parquet files below a folder."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))


def with_host_in_front(url: str) -> str:
    """Returns a URL in the form that Rust's client takes a socket in."""
    parts = urlsplit(url)
    folder = unquote(parse_qs(parts.query)["host"][0])
    return f"postgresql://{parts.username}:{parts.password}@{quote(folder, safe='')}:5432{parts.path}"


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        duckdb_extension,
        connectorx_to_arrow,
        connectorx,
        psycopg_to_arrow,
        psycopg,
        dlt_connectorx,
        dlt_pyarrow,
        sling,
    )
}


if __name__ == "__main__":
    started_at = time.perf_counter()
    moved = WAYS[sys.argv[1]](Path(sys.argv[2]))
    seconds = time.perf_counter() - started_at
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "events": moved,
                "seconds": seconds,
                "processor_seconds": used.ru_utime + used.ru_stime,
                "peak_memory_bytes": used.ru_maxrss * 1024,
            }
        )
    )
