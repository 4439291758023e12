"""A check that dictionaries give nobody away: nothing that names a person in stored mail stands in them.

Training leaves addresses and long tokens out, whoever has them; this looks at what came of it, on messages training may
never have seen. Belongs here: that look. Does not belong here: how dictionaries are made (dictionary_training.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.checking import CheckReport
from penguinmails.content_store.dictionary_catalog import DictionaryCatalog
from penguinmails.content_store.errors import ContentGone, TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.content_store.keys import KeyRing, key_source
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.reading import ContentReader
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.object_store import ObjectMissing
from penguinmails.stack.stores import Stores

_DICTIONARIES = 50
_MESSAGES = 40
_NEW = timedelta(days=2)
_MOST_BYTES_OF_A_MESSAGE = 64 << 10
_TELLING = (
    re.compile(rb"[A-Za-z0-9._%+=-]{1,64}@[A-Za-z0-9.-]{4,}"),
    re.compile(rb"(?<![A-Za-z0-9_+=-])(?=[A-Za-z_+=-]*[0-9])[A-Za-z0-9_+=-]{24,}"),
)


def check_dictionaries(
    stores: Stores, *, clock: Callable[[], datetime], progress: Progress = no_progress
) -> CheckReport:
    """Looks in dictionaries, new ones first and others by chance, for addresses and tokens of messages made with them."""
    looked_at, bad = 0, list[str]()
    with typed_errors(), connect(stores) as connection, ContentReader(stores, note_access=False) as reader:
        catalog = DictionaryCatalog(open_bucket(stores), KeyRing(key_source(stores)))
        values = {"new_since": clock() - _NEW, "dictionaries": _DICTIONARIES, "messages": _MESSAGES}
        for (dictionary_id,) in connection.execute(QUERIES["dictionaries_to_look_at"], values).fetchall():
            looked_at += 1
            names = connection.execute(
                QUERIES["messages_of_dictionary"], {**values, "dictionary_id": dictionary_id}
            ).fetchall()
            try:
                content = catalog.for_reading(connection, dictionary_id).content
                leaks = any(telling in content for (name,) in names for telling in _telling(reader, name))
            except (IntegrityError, ObjectMissing, TenantKeyMissing, TenantKeyWrong):
                leaks = True  # a dictionary that cannot be looked at is not known to be clean
            if leaks:
                bad.append(f"dictionary {dictionary_id}")
            progress(1)
    return CheckReport(
        "dictionaries that give somebody away",
        looked_at,
        len(bad),
        tuple(bad[:10]),
        "Stop the hand-over and report it: a dictionary holds what only a message should, or cannot be read.",
    )


def _telling(reader: ContentReader, name: str) -> Iterator[bytes]:
    try:
        raw = reader.read(name)[:_MOST_BYTES_OF_A_MESSAGE]
    except (ContentGone, IntegrityError, TenantKeyMissing, TenantKeyWrong):
        return  # other checks tell of it
    for pattern in _TELLING:
        yield from {found[0] for found in pattern.finditer(raw)}
