"""Names of things in the index and in the object store.

A storage key names one message: `<message>.<tenant>`, each a UUID as 26 letters of base32hex. It is computed from the
two ids, so that handing the same message over twice can only ever give one row; it sorts by time (UUIDv7), and a message
is found by its id alone through the key's own index. An object key names tenant, retention class and month of intake, so
that rights, life-cycle rules and removal work by prefix and a changed policy rewrites nothing.

Belongs here: composing and taking apart such names. Does not belong here: an address or a content hash, in any name.
"""

from __future__ import annotations

import base64
import binascii
import functools
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from penguinmails.content_store.errors import ContentUnknown

PREFIX = "content/v1/"
"""Everything of this tier in the bucket lies under it."""
PACK_SUFFIX = ".pmpack"
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
"""Two letters for ten bits. The standard library's base32 takes a tenth of a hand-over's time."""
LEASE = timedelta(hours=1)
"""Longer than building and storing the biggest object can take; only then is an unfinished one taken for abandoned."""


@dataclass(frozen=True)
class PackGroup:
    """What all messages of one pack have in common."""

    tenant_id: UUID
    retention_class: str
    ingest_month: date
    """First day of the month of intake."""


def storage_key(tenant_id: UUID, message_id: UUID) -> str:
    """Returns the storage key of a message."""
    return f"{_letters(message_id)}.{_tenant_letters(tenant_id)}"


def ids_of(key: str) -> tuple[UUID, UUID]:
    """Returns (tenant_id, message_id) of a storage key.

    Raises:
        ContentUnknown: it is not a storage key of this tier.
    """
    message, _, tenant = key.partition(".")
    try:
        return _uuid(tenant), _uuid(message)
    except (binascii.Error, ValueError):
        raise ContentUnknown(f"storage key {key[:60]!r}", "is not one of this tier", "Check the key.") from None


def storage_key_bounds(message_id: UUID) -> tuple[str, str]:
    """Returns the half-open range of storage keys that belong to a message id, whoever its tenant is."""
    return f"{_letters(message_id)}.", f"{_letters(message_id)}/"


def pack_key(group: PackGroup, pack_id: UUID) -> str:
    """Returns the object key of a pack. A pack id is used for one attempt only."""
    return f"{_tenant_prefix(group.tenant_id)}{group.retention_class}/{group.ingest_month:%Y-%m}/{pack_id}{PACK_SUFFIX}"


def dictionary_key(tenant_id: UUID, dictionary_id: int) -> str:
    """Returns the object key of a tenant's dictionary."""
    return f"{_tenant_prefix(tenant_id)}dictionaries/{dictionary_id}.sealed"


def _tenant_prefix(tenant_id: UUID) -> str:
    return f"{PREFIX}{tenant_id}/"


def _letters(value: UUID) -> str:
    bits, pairs = value.int << 2, _PAIRS
    return (
        f"{pairs[bits >> 120]}{pairs[bits >> 110 & 1023]}{pairs[bits >> 100 & 1023]}{pairs[bits >> 90 & 1023]}"
        f"{pairs[bits >> 80 & 1023]}{pairs[bits >> 70 & 1023]}{pairs[bits >> 60 & 1023]}{pairs[bits >> 50 & 1023]}"
        f"{pairs[bits >> 40 & 1023]}{pairs[bits >> 30 & 1023]}{pairs[bits >> 20 & 1023]}{pairs[bits >> 10 & 1023]}"
        f"{pairs[bits & 1023]}"
    )


@functools.lru_cache(maxsize=1024)
def _tenant_letters(tenant_id: UUID) -> str:
    return _letters(tenant_id)


def _uuid(letters: str) -> UUID:
    value = UUID(bytes=base64.b32hexdecode(letters.upper() + "======"))
    if _letters(value) != letters:
        raise ValueError(letters)
    return value
