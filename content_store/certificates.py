"""Certificates of erasure: a chain of statements in which none can be changed or left out unnoticed.

Each statement's hash covers the one before: SHA-256(previous hash | canonical JSON of the statement). Statements hold ids,
counts and times, no personal data.

Belongs here: adding to and checking the chain. Does not belong here: deciding what is certified (erasure.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from penguinmails.content_store.deletion import QUERIES
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.stack.stores import Stores

_START = bytes(32)


@dataclass(frozen=True)
class ChainReport:
    """What checking the chain found."""

    certificates: int
    broken_at: int | None
    """Sequence of the first statement that is not what was certified."""
    newest_hash: str
    """Keep it elsewhere: with it, cutting off the end of the chain shows too."""


def add_certificate(connection: Connection, tenant_id: UUID, request_id: UUID, statement: dict[str, Any]) -> None:
    """Adds a statement; call it inside the transaction that makes it true."""
    connection.execute(QUERIES["lock_certificates"])
    sequence, previous = connection.execute(QUERIES["newest_certificate"]).fetchone() or (0, _START)
    plain = orjson.loads(orjson.dumps(statement, default=str))
    connection.execute(
        QUERIES["add_certificate"],
        {
            "sequence": sequence + 1,
            "tenant_id": tenant_id,
            "request_id": request_id,
            "statement": Jsonb(plain),
            "previous_hash": previous,
            "hash": _hash(previous, plain),
        },
    )


def check_chain(stores: Stores) -> ChainReport:
    """Recomputes every hash."""
    previous, count = _START, 0
    with typed_errors(), connect(stores) as connection:
        for sequence, statement, stated_previous, stated in connection.execute(QUERIES["certificates"]):
            count += 1
            if sequence != count or stated_previous != previous or stated != _hash(previous, statement):
                return ChainReport(count, count, previous.hex())
            previous = stated
    return ChainReport(count, None, previous.hex())


def _hash(previous: bytes, statement: dict[str, Any]) -> bytes:
    return hashlib.sha256(previous + orjson.dumps(statement, option=orjson.OPT_SORT_KEYS)).digest()
