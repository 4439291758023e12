"""One object-store client a bucket and process: making one costs a third of a second, sharing it nothing.

Belongs here: that sharing. Does not belong here: the client itself (stack/object_store.py).
"""

from __future__ import annotations

import functools
import os

from penguinmails.stack.object_store import Bucket, BucketAddress
from penguinmails.stack.stores import Stores


def open_bucket(stores: Stores) -> Bucket:
    """Returns this process's client of the object store; safe to share between threads."""
    return _client(stores.bucket, os.getpid())


@functools.lru_cache(maxsize=8)
def _client(address: BucketAddress, _process: int) -> Bucket:
    return Bucket(address)
