"""Our own extraction of all events, in a process of its own, as peers.py runs it: `own_extraction.py TARGET FOLDER`.

TARGET is `object_store` (read, written as Parquet, sent: the whole way to the landing zone), `files` (not sent: as far as the
peers go) or `arrow` (read and thrown away).
Prints one JSON document.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from penguinmails.olap.extraction import open_extraction
from penguinmails.olap.read_ahead import read_ahead
from penguinmails.olap.roll_up import landing_of
from penguinmails.olap.sources import EMAIL_EVENTS
from penguinmails.stack.stores import Stores, resolve


def to_object_store(stores: Stores, folder: Path) -> int:
    """Returns the number of events that went into the landing zone; what was stored is removed again."""
    landing = landing_of(stores, incoming=folder)
    with open_extraction(stores.oltp_url) as opened:
        landed = landing.write(
            EMAIL_EVENTS, 0, opened.batches(EMAIL_EVENTS, changes=False), whole=True, send_at_once=True
        )
    stores.open_bucket().delete([part.key for part in landed.parts])
    return landed.rows


def to_files(stores: Stores, folder: Path) -> int:
    """Returns the number of events that went into files of this machine."""
    landing = landing_of(stores, incoming=folder)
    with open_extraction(stores.oltp_url) as opened:
        return landing.write(EMAIL_EVENTS, 0, opened.batches(EMAIL_EVENTS, changes=False), whole=True).rows


def to_arrow(stores: Stores, _: Path) -> int:
    """Returns the number of events that were read."""
    with open_extraction(stores.oltp_url) as opened:
        return sum(batch.num_rows for batch in read_ahead(opened.batches(EMAIL_EVENTS, changes=False)))


TARGETS = {"object_store": to_object_store, "files": to_files, "arrow": to_arrow}


def measured(target: str, folder: Path) -> dict[str, Any]:
    """Runs one extraction and returns what it took."""
    stores = resolve()
    started_at = time.perf_counter()
    events = TARGETS[target](stores, folder)
    seconds = time.perf_counter() - started_at
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "events": events,
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": used.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))
