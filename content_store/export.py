"""Saving messages for people and other tools.

Belongs here: writing files from what the reader gives. Does not belong here: reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from penguinmails.content_store.errors import TenantKeyMissing, TenantKeyWrong
from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.reading import ContentReader
from penguinmails.content_store.storage_layout import ids_of
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.stores import Stores

_PAGE = 1_000


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    messages: int
    size_bytes: int
    unreadable: tuple[str, ...]
    """Storage keys of messages that could not be read."""


def save_all(
    stores: Stores, folder: Path, *, tenant_id: UUID | None = None, progress: Progress = no_progress
) -> ExportReport:
    """Writes every message (of one tenant, where given) as `<tenant id>/<message id>.eml`, bit for bit.

    Raises:
        ServerError: a store does not answer.
    """
    messages, size_bytes, unreadable = 0, 0, []
    with ContentReader(stores) as reader:
        for name in storage_keys(stores, tenant_id):
            try:
                raw = reader.read(name)
            except (IntegrityError, TenantKeyMissing, TenantKeyWrong):
                unreadable.append(name)
                continue
            owner, message_id = ids_of(name)
            path = folder / str(owner) / f"{message_id}.eml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            messages, size_bytes = messages + 1, size_bytes + len(raw)
            progress(1)
    return ExportReport(messages, size_bytes, tuple(unreadable))


def storage_keys(stores: Stores, tenant_id: UUID | None = None) -> Iterator[str]:
    """Yields the storage keys of readable messages in key order, a page at a time."""
    query = QUERIES["page_of_objects"] if tenant_id is None else QUERIES["page_of_tenant_objects"]
    after = ""
    while True:
        with typed_errors(), connect(stores) as connection:
            page = connection.execute(query, {"after": after, "tenant_id": tenant_id, "limit": _PAGE}).fetchall()
        if not page:
            return
        yield from (name for (name,) in page)
        after = page[-1][0]
