"""The bootstrap dictionary: what a tenant's first messages are compressed with, and what every other dictionary begins with.

Shipped in the package; how it was made stands in bootstrap_mail.py. Frames name it, so its bytes never change: a better one
gets a new file and a new id, and the older ones stay.

Belongs here: reading it. Does not belong here: making it, dictionaries of tenants.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from penguinmails.content_store.codec import Dictionary

BOOTSTRAP_DICTIONARY_ID = 32_771
"""The newest. zstd leaves ids from 32,768 on to everybody; dictionaries of tenants start at a million."""
BOOTSTRAP_CONTENT_BYTES = 164 << 10
"""Of the dictionary; what comes before are zstd's tables."""
FOLDER = Path(__file__).parent / "dictionaries"
_FILES = {32_769: "bootstrap-1.zdict", 32_770: "bootstrap-2.zdict", BOOTSTRAP_DICTIONARY_ID: "bootstrap-3.zdict"}


@cache
def shipped_dictionary(dictionary_id: int) -> Dictionary | None:
    """Returns a dictionary shipped in this package, an older one too; None where the id is a tenant's."""
    name = _FILES.get(dictionary_id)
    return Dictionary(dictionary_id, (FOLDER / name).read_bytes()) if name else None


def bootstrap_dictionary() -> Dictionary:
    """Returns the newest dictionary shipped in this package."""
    newest = shipped_dictionary(BOOTSTRAP_DICTIONARY_ID)
    assert newest is not None  # noqa: S101 - for the type checker
    return newest


def bootstrap_content() -> bytes:
    """Returns the newest dictionary without zstd's tables: words, phrases, pieces of mail."""
    return bootstrap_dictionary().content[-BOOTSTRAP_CONTENT_BYTES:]
