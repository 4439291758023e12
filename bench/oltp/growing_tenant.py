"""What the same work costs as one tenant grows; prints one JSON document.

    python bench/oltp/growing_tenant.py [--mail TAR_OR_FOLDER] [--rounds 8]

Each round loads the same messages once more, with other Message-IDs and other references, for the same tenant, hands them over
and exports all of the tenant's mail. On the embedded servers in a temporary home that is removed at the end, nothing else
running. Loading and handing over should take as long in the last round as in the second (in the first PostgreSQL knows nothing of
the tables, and a dictionary is trained); exporting should take as long a message.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "content"))
from corpora import cold_outreach, real_mail
from temporary_home import temporary_home

_IDENTIFIER = re.compile(rb"<([^<>\s@]+@)")
_SYNTHETIC_MESSAGES = 3_000


@dataclass(frozen=True)
class Renamed:
    """A source of the same mail under other names."""

    messages: list[bytes]
    number: int
    setup: tuple[()] = ()

    @property
    def name(self) -> str:
        return f"round {self.number}"

    def items(self) -> Iterator[Any]:
        from penguinmails.oltp.mail_items import SourceItem

        for place, raw in enumerate(self.messages):
            headers, blank, body = raw.partition(b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n")
            renamed = _IDENTIFIER.sub(b"<round%d.\\1" % self.number, headers)
            yield SourceItem(str(place), renamed + blank + body)


def now() -> datetime:
    return datetime.now(UTC)


def timed(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def measure(messages: list[bytes], rounds: int, folder: Path) -> Iterator[dict[str, Any]]:
    from penguinmails.content_store.export import ExportScope, export_messages
    from penguinmails.content_store.export_formats import Format
    from penguinmails.content_store.hand_over import hand_over
    from penguinmails.content_store.index import migrate
    from penguinmails.oltp import schema
    from penguinmails.oltp.bodies import MessageBodies
    from penguinmails.oltp.intake import load_mail
    from penguinmails.oltp.mail_items import DEMO_WORKSPACE
    from penguinmails.stack.stores import resolve

    stores = resolve()
    schema.migrate(stores, clock=now)
    migrate(stores)
    bodies, scope = MessageBodies(stores), ExportScope(DEMO_WORKSPACE.tenant_id)
    for number in range(1, rounds + 1):
        source = Renamed(messages, number)
        loading, loaded = timed(lambda source=source: load_mail(stores, source, clock=now))
        handing_over, handed_over = timed(lambda: hand_over(stores, bodies, clock=now))
        path = folder / f"{number}.mbox"
        exporting, exported = timed(lambda path=path: export_messages(stores, bodies, scope, path, form=Format.MBOX))
        yield {
            "messages_of_the_tenant": exported.messages,
            "loaded": loaded.loaded,
            "loading_seconds": round(loading, 2),
            "handed_over": handed_over.messages,
            "handing_over_seconds": round(handing_over, 2),
            "exporting_microseconds_per_message": round(exporting / exported.messages * 1e6),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mail", type=Path, help="tar or folder of real mail; without it, invented outreach")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    corpus = real_mail(100_000, options.mail) if options.mail else cold_outreach(_SYNTHETIC_MESSAGES)
    with temporary_home() as home:
        print(json.dumps(list(measure([raw for _, raw in corpus], options.rounds, home)), indent=2))


if __name__ == "__main__":
    main()
