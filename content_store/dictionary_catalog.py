"""Which dictionary a tenant's messages are written with, and finding the one a frame was written with.

Belongs here: look-up and an in-memory store of dictionaries. Does not belong here: training one (bootstrap_dictionary.py,
dictionary_training.py).
"""

from __future__ import annotations

import threading
from functools import cached_property

from penguinmails.content_store.bootstrap_dictionary import BOOTSTRAP_DICTIONARY_ID, bootstrap_dictionary
from penguinmails.content_store.codec import Dictionary
from penguinmails.content_store.errors import ContentDamaged


class DictionaryCatalog:
    """Dictionaries by id, each loaded once. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @cached_property
    def bootstrap(self) -> Dictionary:
        """What a tenant without a dictionary of its own writes with."""
        return bootstrap_dictionary()

    def for_reading(self, dictionary_id: int) -> Dictionary:
        """Returns the dictionary of that id.

        Raises:
            ContentDamaged: there is none.
        """
        if dictionary_id != BOOTSTRAP_DICTIONARY_ID:
            raise ContentDamaged(f"dictionary {dictionary_id}", "is not known", "Run 'penguinmails content check'.")
        with self._lock:
            return self.bootstrap
