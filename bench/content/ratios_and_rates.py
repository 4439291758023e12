"""Bytes, rates and latencies of the content tier against what others do, on the same messages; prints one JSON document.

    python bench/content/ratios_and_rates.py [--mail TAR_OR_FOLDER] [--templates TAR] [--messages N]

Corpora: cold outreach invented here; real mail and HTML campaigns where paths are given. Servers: the embedded ones, in a
temporary home that is removed at the end. Ratios are exact; rates belong to the machine they were measured on.
"""

from __future__ import annotations

import argparse
import dataclasses
import email.utils
import gzip
import hashlib
import json
import os
import random
import re
import resource
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
os.environ["PENGUINMAILS_HOME"] = HOME = tempfile.mkdtemp(prefix="penguinmails-bench-")

from content_support import Body, HandOverArea, make_template

from penguinmails.content_store import codec
from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.sealing import SEAL_BYTES
from penguinmails.content_store.storage_layout import storage_key
from penguinmails.stack import embedded
from penguinmails.stack.stores import Stores, resolve

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
READS = 500
SYLLABLES = ("an", "bel", "cor", "dra", "el", "fin", "gar", "hol", "ist", "jo", "kel", "lun")
PHRASES = [f"{' '.join(random.Random(n).choice(SYLLABLES) * 2 for _ in range(12))}." for n in range(400)]


def people(count: int) -> Iterator[dict[str, str]]:
    dice = random.Random(11)
    for number in range(count):
        first, last, company = ("".join(dice.choice(SYLLABLES) for _ in range(3)).title() for _ in range(3))
        token = hashlib.sha256(str(number).encode()).hexdigest()
        address = f"{first}.{last}{number}@{company}.example".lower()
        yield {"first": first, "last": last, "company": company, "address": address, "token": token}


def headers(person: dict[str, str], campaign: int, kind: str) -> str:
    token = person["token"]
    return (
        f"From: Robin Agency <robin@sender{campaign}.example>\r\nTo: {person['first']} {person['last']} <{person['address']}>\r\n"
        f"Subject: {person['first']}, a question about {person['company']}\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
        f"Message-ID: <{token[:24]}@sender{campaign}.example>\r\n"
        f"List-Unsubscribe: <https://sender{campaign}.example/u/{token}>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )


def cold_outreach(count: int) -> list[tuple[str, bytes]]:
    """Short personal mail of 60 campaigns, about 500 bytes of each message its own."""
    made = []
    for number, person in enumerate(people(count)):
        campaign = number % 60
        own = random.Random(person["token"])
        middle = " ".join(PHRASES[campaign * 6 : campaign * 6 + 6])
        remark = " ".join(own.choice(SYLLABLES) + own.choice(SYLLABLES) for _ in range(40))
        text = f"Hi {person['first']},\r\n\r\n{middle}\r\n\r\n{remark}\r\n\r\nBest,\r\nRobin\r\n"
        link = f"https://sender{campaign}.example/c/{person['token']}\r\n"
        made.append((person["address"], (headers(person, campaign, "text/plain") + text + link).encode()))
    return made


def html_campaigns(templates: Path, count: int) -> list[tuple[str, bytes]]:
    """Newsletter templates merged with made-up data."""
    with tarfile.open(templates) as tar:
        pages = [tar.extractfile(m).read().decode("utf-8", "replace") for m in tar if m.name.endswith(".html")][:12]
    made = []
    for number, person in enumerate(people(count)):
        campaign = number % len(pages)
        page = pages[campaign].replace("*|MC:SUBJECT|*", f"For {person['first']}")
        page = re.sub(r"\*\|[A-Z:_]+\|\*", lambda _: f"https://l.example/{person['token'][:16]}", page)  # noqa: B023
        made.append((person["address"], (headers(person, campaign, "text/html") + page).encode()))
    return made


def real_mail(path: Path, count: int) -> list[tuple[str, bytes]]:
    """Messages of a tar or a folder, with the sender as correspondent."""
    if path.is_dir():
        raws = [item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()]
    else:
        with tarfile.open(path) as tar:
            raws = [tar.extractfile(member).read() for member in tar if member.isfile()]
    senders = [re.search(rb"^From: (.*)$", raw, re.MULTILINE) for raw in raws]
    names = [email.utils.parseaddr(found[1].decode("latin-1"))[1] if found else "" for found in senders]
    return list(zip(names, raws, strict=True))[:count]


def peers(messages: list[bytes]) -> dict[str, int]:
    """Bytes that other ways of storing need for these messages."""
    lz4 = pa.Codec("lz4")
    table = pa.table({"raw": pa.array(messages, pa.binary())})
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pq.write_table(table, file.name, compression="zstd", compression_level=9)
        parquet = Path(file.name).stat().st_size
    shipped = bootstrap_dictionary()
    return {
        "gzip_each": sum(len(gzip.compress(raw, 6)) for raw in messages),
        "lz4_each": sum(lz4.compress(raw, asbytes=True).__len__() for raw in messages),
        "zstd_9_each": sum(len(zstd.compress(raw, 9)) for raw in messages),
        "parquet_zstd_9": parquet,
        "toast_pglz": toast(messages),
        "shipped_dictionary_sealed": sum(len(codec.compress(raw, shipped)) + SEAL_BYTES for raw in messages),
    }


def toast(messages: list[bytes]) -> int:
    with psycopg.connect(resolve().content_url.get_secret_value()) as connection:
        connection.execute("CREATE TEMPORARY TABLE toasted (raw bytea)")
        with connection.cursor().copy("COPY toasted FROM STDIN") as copy:
            for raw in messages:
                copy.write_row([raw])
        row = connection.execute("SELECT sum(pg_column_size(raw)) FROM toasted").fetchone()
    return int(row[0])


def measure(name: str, corpus: list[tuple[str, bytes]], stores: Stores, area: HandOverArea) -> dict[str, object]:
    tenant_id = uuid5(UUID(int=0), name)
    bodies = [
        Body(tenant_id, uuid5(tenant_id, str(number)), NOW, "outbound", "email", correspondent, raw)
        for number, (correspondent, raw) in enumerate(corpus)
    ]
    area.add(*bodies)
    before = time.process_time()
    report = hand_over(stores, area, clock=lambda: NOW)
    processor_seconds = time.process_time() - before
    raw_bytes = sum(len(raw) for _, raw in corpus)
    others = peers([raw for _, raw in corpus])
    return {
        "messages": len(corpus),
        "mean_bytes": round(raw_bytes / len(corpus)),
        "ratio": {"content_tier": round(report.ratio or 0, 3)}
        | {peer: round(raw_bytes / size, 3) for peer, size in others.items()},
        "hand_over_messages_per_second": round(report.messages / report.seconds),
        "hand_over_messages_per_processor_second": round(report.messages / processor_seconds),
        "puts_per_million_messages": round(report.puts / report.messages * 1e6),
        "read_milliseconds": latencies(stores, [storage_key(tenant_id, body.message_id) for body in bodies]),
    }


def latencies(stores: Stores, keys: list[str]) -> dict[str, float]:
    dice = random.Random(5)
    with ContentReader(stores) as reader:
        reader.read(keys[0])
        spent = [timed(reader.read, dice.choice(keys)) for _ in range(READS)]
    spent.sort()
    return {name: round(spent[int(len(spent) * part)] * 1e3, 2) for name, part in (("p50", 0.5), ("p99", 0.99))}


def timed(work: Callable[[str], object], argument: str) -> float:
    started = time.perf_counter()
    work(argument)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mail", type=Path)
    parser.add_argument("--templates", type=Path)
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args()
    try:
        stores = dataclasses.replace(resolve(), home=Path(HOME))
        make_template(stores.content_url)
        area = HandOverArea(stores.content_url)
        corpora = {"cold_outreach": cold_outreach(options.messages)}
        if options.mail:
            corpora["real_mail"] = real_mail(options.mail, options.messages)
        if options.templates:
            corpora["html_campaigns"] = html_campaigns(options.templates, options.messages)
        results = {name: measure(name, corpus, stores, area) for name, corpus in corpora.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"processors": os.cpu_count(), "peak_memory_bytes": peak, "corpora": results}, indent=2))
        area.close()
    finally:
        embedded.stop(Path(HOME))
        shutil.rmtree(HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
