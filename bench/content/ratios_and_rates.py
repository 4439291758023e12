"""The aims of the content tier measured, and what others do with the same messages; prints one JSON document.

    python bench/content/ratios_and_rates.py [--mail TAR_OR_FOLDER] [--templates TAR] [--messages N] [--backlog N]

Corpora: cold outreach invented here; real mail and HTML campaigns where paths are given. Servers: the embedded ones, in a
temporary home that is removed at the end. Mail waits in the product's own tables (waiting_mail.py). Every corpus, and the
hand-over of two backlogs, is measured in a process of its own, so that each peak of memory is its own: `memory` says whether
it grows with the backlog. Ratios are exact; rates belong to the machine.

With the defaults, both paths given, on two free cores: about 8 minutes. `--messages 2000 --backlog 4000` takes one.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from temporary_home import HOME_VARIABLE, temporary_home

READS, READS_AT_ONCE = 2_000, 8
HUGE_BYTES = 100_000_000
_HTML_PART = 4
"""HTML campaigns: a quarter of the messages, which are ten times as big."""


@dataclass(frozen=True)
class Bench:
    """What the parts need."""

    options: argparse.Namespace

    def corpus(self, name: str) -> Iterator[tuple[str, bytes]]:
        import corpora

        count = self.options.messages
        if name == "real_mail":
            return corpora.real_mail(count, self.options.mail)
        if name == "html_campaigns":
            return corpora.html_campaigns(max(300, count // _HTML_PART), self.options.templates)
        return corpora.cold_outreach(count)


def hand_over_all(stores: Any) -> dict[str, Any]:
    """Hands over what waits; returns the figures of it."""
    from processes import Watch
    from waiting_mail import NOW

    from penguinmails.content_store.hand_over import hand_over
    from penguinmails.oltp.bodies import MessageBodies

    with Watch(os.environ[HOME_VARIABLE]) as watch:
        report = hand_over(stores, MessageBodies(stores), clock=lambda: NOW)
    microseconds = {
        name: round(seconds / report.messages * 1e6, 1) for name, seconds in watch.processor_seconds.items()
    }
    return {
        "messages": report.messages,
        "raw_bytes": report.raw_bytes,
        "ratio": round(report.ratio or 0, 3),
        "messages_per_second": round(report.messages / report.seconds),
        "processor_microseconds_per_message": microseconds | {"all": round(sum(microseconds.values()), 1)},
        "puts": report.puts,
        "peak_memory_bytes": watch.peak_memory_bytes,
    }


def measure_corpus(bench: Bench, name: str) -> dict[str, Any]:
    """Ratio against what others do, rate, requests and latency of one corpus."""
    import waiting_mail

    from penguinmails.stack.stores import resolve

    stores = resolve()
    direction = "inbound" if name == "real_mail" else "outbound"
    _, messages, raw_bytes = waiting_mail.put(stores, name, bench.corpus(name), direction)
    handed_over = hand_over_all(stores)
    peers = {peer: round(raw_bytes / size, 3) for peer, size in peer_bytes(stores, bench.corpus(name)).items()}
    return {
        "mean_bytes": round(raw_bytes / messages),
        "hand_over": handed_over,
        "index": in_the_index(stores, uuid5(UUID(int=0), name)),
        "ratio": {"content_tier": handed_over["ratio"]} | peers,
        "puts_per_million_messages": round(handed_over["puts"] / messages * 1e6),
        "read": reads(stores, uuid5(UUID(int=0), name)),
    }


def in_the_index(stores: Any, tenant_id: UUID) -> dict[str, Any]:
    """Returns what a tenant's dictionaries take, which no ratio counts (they are stored once), and its objects by form."""
    from penguinmails.content_store.index import connect

    with connect(stores) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(size_bytes), 0) FROM dictionaries WHERE tenant_id = %s", (tenant_id,)
        ).fetchone()
        forms = connection.execute(
            "SELECT form, count(*), sum(raw_size_bytes)::bigint, sum(compressed_size_bytes)::bigint"
            " FROM content_objects WHERE tenant_id = %s GROUP BY form ORDER BY form",
            (tenant_id,),
        ).fetchall()
    return {
        "dictionary_bytes": int(row[0]),
        "forms": {
            form: {"objects": objects, "raw_bytes": raw_bytes, "stored_bytes": stored_bytes}
            for form, objects, raw_bytes, stored_bytes in forms
        },
    }


def peer_bytes(stores: Any, corpus: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    """Returns the bytes that other ways of storing need for these messages."""
    import psycopg
    import pyarrow as pa
    import pyarrow.parquet as pq

    from penguinmails.content_store import codec
    from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
    from penguinmails.content_store.sealing import SEAL_BYTES

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    lz4, shipped, schema = pa.Codec("lz4"), bootstrap_dictionary(), pa.schema([("raw", pa.binary())])
    sizes = dict.fromkeys(("gzip_each", "lz4_each", "zstd_9_each", "shipped_dictionary_sealed"), 0)
    corpus = iter(corpus)
    with (
        tempfile.NamedTemporaryFile(suffix=".parquet") as file,
        pq.ParquetWriter(file.name, schema, compression="zstd", compression_level=9) as parquet,
        psycopg.connect(stores.content_url.get_secret_value()) as connection,
    ):
        connection.execute("CREATE TEMPORARY TABLE toasted (raw bytea)")
        while chunk := [raw for _, raw in itertools.islice(corpus, 5_000)]:
            sizes["gzip_each"] += sum(len(gzip.compress(raw, 6)) for raw in chunk)
            sizes["lz4_each"] += sum(len(lz4.compress(raw, asbytes=True)) for raw in chunk)
            sizes["zstd_9_each"] += sum(len(zstd.compress(raw, 9)) for raw in chunk)
            sizes["shipped_dictionary_sealed"] += sum(len(codec.compress(raw, shipped)) + SEAL_BYTES for raw in chunk)
            parquet.write_table(pa.table({"raw": pa.array(chunk, pa.binary())}, schema=schema))
            with connection.cursor().copy("COPY toasted FROM STDIN") as copy:
                for raw in chunk:
                    copy.write_row([raw])
        parquet.close()
        row = connection.execute("SELECT sum(pg_column_size(raw)) FROM toasted").fetchone()
        return sizes | {"parquet_zstd_9": Path(file.name).stat().st_size, "toast_pglz": int(row[0])}


def reads(stores: Any, tenant_id: UUID) -> dict[str, Any]:
    """Latencies of random reads, alone and eight at once, with the requests they took."""
    from concurrent.futures import ThreadPoolExecutor

    from penguinmails.content_store.export import storage_keys
    from penguinmails.content_store.reading import ContentReader

    dice, keys = random.Random(5), list(storage_keys(stores, tenant_id))
    drawn = [dice.choice(keys) for _ in range(READS)]
    with ContentReader(stores, connections=READS_AT_ONCE) as reader:
        requests = count_requests()
        reader.read(keys[0])  # the dictionary and the connections are there from now on
        before = requests[0]
        alone = [timed(reader, key) for key in drawn]
        gets = requests[0] - before
        started = time.perf_counter()
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            together = list(pool.map(lambda key: timed(reader, key), drawn))
        seconds = time.perf_counter() - started
    return {
        "milliseconds": quantiles(alone),
        "requests_per_read": round(gets / READS, 3),
        f"milliseconds_{READS_AT_ONCE}_at_once": quantiles(together),
        f"reads_per_second_{READS_AT_ONCE}_at_once": round(READS / seconds),
    }


def count_requests() -> list[int]:
    """Returns a counter of what this process sends to object stores."""
    from botocore.httpsession import URLLib3Session

    counter, send = [0], URLLib3Session.send

    def count(session: Any, request: Any) -> Any:
        counter[0] += 1
        return send(session, request)

    URLLib3Session.send = count  # type: ignore[method-assign]
    return counter


def timed(reader: Any, key: str) -> float:
    started = time.perf_counter()
    reader.read(key)
    return time.perf_counter() - started


def quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {name: round(ordered[int(len(ordered) * part)] * 1e3, 2) for name, part in (("p50", 0.5), ("p99", 0.99))}


def feed_backlog(_bench: Bench, count: int) -> dict[str, Any]:
    import corpora
    import waiting_mail

    from penguinmails.stack.stores import resolve

    _, messages, raw_bytes = waiting_mail.put(
        resolve(), f"backlog of {count}", corpora.cold_outreach(count), "outbound"
    )
    return {"messages": messages, "raw_bytes": raw_bytes}


def hand_over_backlog(_bench: Bench, _count: int) -> dict[str, Any]:
    from penguinmails.stack.stores import resolve

    return hand_over_all(resolve())


def feed_huge(_bench: Bench, size_bytes: int) -> dict[str, Any]:
    """One message with an attachment that no compressor makes smaller."""
    import waiting_mail

    from penguinmails.stack.stores import resolve

    content = random.Random(1).randbytes(size_bytes * 57 // 78)
    head = (
        b"From: robin@sender.example\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\n"
        b'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="all.zip"\r\n\r\n'
    )
    mail = [("robin@sender.example", head + base64.encodebytes(content).replace(b"\n", b"\r\n"))]
    tenant_id, _, raw_bytes = waiting_mail.put(resolve(), "huge", mail, "inbound")
    return {"raw_bytes": raw_bytes, "tenant_id": str(tenant_id)}


def hand_over_huge(bench: Bench, _size_bytes: int) -> dict[str, Any]:
    return hand_over_backlog(bench, 1)


def get_huge(_bench: Bench, _size_bytes: int) -> dict[str, Any]:
    from processes import Watch

    from penguinmails.content_store.export import storage_keys
    from penguinmails.content_store.reading import read_message
    from penguinmails.stack.stores import resolve

    stores = resolve()
    (name,) = storage_keys(stores, uuid5(UUID(int=0), "huge"))
    with Watch(os.environ[HOME_VARIABLE]) as watch:
        raw_bytes = len(read_message(stores, storage_key=name))
    return {"raw_bytes": raw_bytes, "peak_memory_bytes": watch.peak_memory_bytes}


def in_a_process(arguments: list[str], *part: str) -> dict[str, Any]:
    """Runs one part in a process of its own and returns what it printed."""
    command = [sys.executable, __file__, *arguments, "--part", *part]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return answer


def aims(
    corpora: dict[str, Any], small: dict[str, Any], large: dict[str, Any], huge: dict[str, Any]
) -> list[dict[str, Any]]:
    """Returns each aim with what was measured and whether it was met."""
    ratios = {name: corpus["ratio"]["content_tier"] for name, corpus in corpora.items()}
    least = {"real_mail": 3.5, "cold_outreach": 4.4, "html_campaigns": 25.0}
    latencies = [corpus["read"]["milliseconds"] for corpus in corpora.values()]
    rows = [(f"ratio of {name}", ratio, ">=", least[name]) for name, ratio in ratios.items()]
    rows += [
        ("least ratio", min(ratios.values()), ">=", 3.0),
        ("messages handed over a second", large["messages_per_second"], ">=", 10_000),
        ("bytes of memory at the larger backlog", large["peak_memory_bytes"], "<", 500 << 20),
        ("bytes of memory, one message of 100 MB handed over", huge["hand_over"]["peak_memory_bytes"], "<", 500 << 20),
        ("bytes of memory, one message of 100 MB read", huge["get"]["peak_memory_bytes"], "<", 500 << 20),
        (
            "memory at the larger backlog, as a part of the smaller's",
            _part(large, small, "peak_memory_bytes"),
            "<",
            1.25,
        ),
        ("milliseconds of a read, p50", max(each["p50"] for each in latencies), "<", 5.0),
        ("milliseconds of a read, p99", max(each["p99"] for each in latencies), "<", 20.0),
        ("requests of a read", max(corpus["read"]["requests_per_read"] for corpus in corpora.values()), "<=", 1.1),
        ("PUTs for 1,000 messages", 1e3 * large["puts"] / large["messages"], "<", 1.0),
    ]
    tests = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b}
    return [
        {"what": what, "measured": measured, "aim": f"{sign} {aim}", "met": tests[sign](measured, aim)}
        for what, measured, sign, aim in rows
    ]


def _part(larger: dict[str, Any], smaller: dict[str, Any], name: str) -> float:
    return round(larger[name] / smaller[name], 3)


def measure_all(arguments: list[str], options: argparse.Namespace) -> dict[str, Any]:
    import waiting_mail

    from penguinmails.content_store.index import migrate
    from penguinmails.stack.stores import resolve

    stores = resolve()
    waiting_mail.migrate(stores)
    migrate(stores)
    names = [
        "cold_outreach",
        *(["real_mail"] if options.mail else []),
        *(["html_campaigns"] if options.templates else []),
    ]
    corpora = {name: in_a_process(arguments, "corpus", name) for name in names}
    backlogs = []
    for count in (options.backlog // 5, options.backlog):
        fed = in_a_process(arguments, "feed", str(count))
        backlogs.append(fed | in_a_process(arguments, "hand_over", str(count)))
    huge = {name: in_a_process(arguments, f"{name}_huge", str(HUGE_BYTES)) for name in ("feed", "hand_over", "get")}
    return {
        "processors": os.cpu_count(),
        "aims": aims(corpora, *backlogs, huge),
        "corpora": corpora,
        "backlogs": backlogs,
        "huge": huge,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mail", type=Path, help="tar or folder of real mail")
    parser.add_argument("--templates", type=Path, help="tar of HTML newsletter templates")
    parser.add_argument("--messages", type=int, default=20_000, help="of each corpus (default: %(default)s)")
    parser.add_argument("--backlog", type=int, default=200_000, help="of the larger backlog (default: %(default)s)")
    parser.add_argument("--part", nargs=2, metavar=("PART", "OF"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = {
        "corpus": measure_corpus,
        "feed": feed_backlog,
        "hand_over": hand_over_backlog,
        "feed_huge": feed_huge,
        "hand_over_huge": hand_over_huge,
        "get_huge": get_huge,
    }
    if options.part:
        name, of = options.part
        print(json.dumps(parts[name](Bench(options), of if name == "corpus" else int(of))))
        return
    with temporary_home():
        print(json.dumps(measure_all(sys.argv[1:], options), indent=2))


if __name__ == "__main__":
    main()
