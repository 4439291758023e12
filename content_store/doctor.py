"""What `penguinmails doctor` asks the content tier.

Belongs here: questions with an answer in a second. Does not belong here: checks that read the data (checking.py).
"""

from __future__ import annotations

from collections.abc import Callable

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.bucket_probe import probe_bucket
from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.statistics import content_statistics
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.findings import Finding
from penguinmails.stack.stores import Stores


def examine(stores: Stores) -> list[Finding]:
    """Returns what was found about the index, the bucket and the keys."""
    questions = {"content index": _index, "content bucket": _bucket, "content keys": _keys}
    return [_answer(name, question, stores) for name, question in questions.items()]


def _answer(name: str, question: Callable[[Stores], tuple[bool, str, str]], stores: Stores) -> Finding:
    try:
        return Finding(name, *question(stores))
    except PlatformError as error:
        return Finding(name, False, f"{error.thing}: {error.problem}", error.remedy)


def _index(stores: Stores) -> tuple[bool, str, str]:
    figures = content_statistics(stores)
    broken = figures.broken_references
    detail = f"{figures.messages:,} messages in {figures.packs:,} packs, {broken:,} broken references"
    return broken == 0, detail, "Run 'penguinmails content check'." if broken else ""


def _bucket(stores: Stores) -> tuple[bool, str, str]:
    report = probe_bucket(open_bucket(stores))
    missing = [item.name for item in report.capabilities if item.needed and not item.proven]
    without = [item.name for item in report.capabilities if not item.needed and not item.proven]
    if missing:
        return False, f"does not do: {', '.join(missing)}", "Use another object store: this one would lose mail."
    return True, "does all that is needed" + (f"; not: {', '.join(without)}" if without else ""), ""


def _keys(stores: Stores) -> tuple[bool, str, str]:
    source = key_source(stores)
    ring = KeyRing(source)
    with typed_errors(), connect(stores) as connection:
        known = connection.execute(QUERIES["known_keys"]).fetchall()
        for tenant_id, generation in known:
            ring.for_reading(connection, tenant_id, generation)
    return True, f"{len(known):,} tenant keys, all there and the right ones ({source})", ""
