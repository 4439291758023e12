"""Saving messages for people and other programs: all of a tenant, of a campaign, or what was exchanged with one person.

The messages are those the OLTP tier knows of, stored or still waiting, in order of id, a page at a time; so is memory
bounded. How far it has come stands in a small file beside the result: killed at any point, the same command goes on there.

Belongs here: which messages, and how far. Does not belong here: what files look like (export_formats.py), reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import UUID

import orjson

from penguinmails.content_store.errors import ContentGone, ContentUnknown
from penguinmails.content_store.export_formats import Format, MailFolder, open_folder
from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.content_store.ports import MessageBodies, Progress, no_progress
from penguinmails.content_store.reading import ContentReader, MessageRead
from penguinmails.content_store.steps import AtStep, ExportStep, no_step
from penguinmails.content_store.storage_layout import ids_of, storage_key
from penguinmails.stack.errors import InputError, PlatformError
from penguinmails.stack.stores import Stores

_PAGE = 1_000
_NOTE_EVERY = 250
"""Messages read together and written between two notes of how far it has come."""
_MOST_NAMED = 1_000


@dataclass(frozen=True)
class ExportScope:
    """Whose messages."""

    tenant_id: UUID
    campaign_id: UUID | None = None
    address: str | None = None
    """Only those from or to this person."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, earlier runs of the same export included."""

    messages: int
    size_bytes: int
    gone: int
    """Deleted or erased: nothing to write."""
    without_attachments: int
    """Written, but attachments of theirs were past their time: the places are empty."""
    unreadable: int
    """Messages that could not be read."""
    unreadable_keys: tuple[str, ...]
    """Their storage keys, the first thousand."""


@dataclass(frozen=True)
class _State:
    """How far an export has come."""

    scope: str
    after: str | None = None
    mbox_bytes: int = 0
    messages: int = 0
    size_bytes: int = 0
    gone: int = 0
    without_attachments: int = 0
    unreadable: int = 0
    unreadable_keys: tuple[str, ...] = ()
    finished: bool = False

    def report(self) -> ExportReport:
        return ExportReport(
            self.messages,
            self.size_bytes,
            self.gone,
            self.without_attachments,
            self.unreadable,
            self.unreadable_keys,
        )


def export_messages(
    stores: Stores,
    bodies: MessageBodies,
    scope: ExportScope,
    path: Path,
    *,
    form: Format = Format.EML,
    progress: Progress = no_progress,
    at_step: AtStep = no_step,
) -> ExportReport:
    """Writes the messages; started again after it was killed it goes on, and after it has finished it starts anew.

    Args:
        bodies: knows which messages there are, and has those that still wait to be handed over.
        path: the mbox file, or the folder.
        at_step: told each step that is now durable.

    Raises:
        InputError: the path is of another kind, belongs to another export, or cannot be written (a full disk).
        ServerError: a store does not answer; run it again, it goes on.
    """
    note = path.with_name(f".{path.name}.progress")
    with _typed_errors(path):
        if path.is_file() and path.stat().st_size and not note.exists():
            raise InputError(f"file {path}", "is there already and no export of ours", "Name another one with --to.")
        state = _begin(note, scope, form)
    with _typed_errors(path), _opened(form, path, state.mbox_bytes) as folder:
        with ContentReader(stores, bodies=bodies) as reader:
            while page := bodies.messages_of(
                scope.tenant_id,
                campaign_id=scope.campaign_id,
                address=scope.address,
                after=UUID(state.after) if state.after else None,
                limit=_PAGE,
            ):
                for start in range(0, len(page), _NOTE_EVERY):
                    batch = page[start : start + _NOTE_EVERY]
                    names = [storage_key(scope.tenant_id, message_id) for message_id in batch]
                    for name, found in reader.read_many(names):
                        state = _write(folder, name, found, state)
                        at_step(ExportStep.MESSAGE_WRITTEN)
                    state = replace(state, after=str(batch[-1]), mbox_bytes=folder.size_bytes())
                    _save(note, state)
                    at_step(ExportStep.MESSAGE_NOTED)
                    progress(len(batch))
        _save(note, replace(state, finished=True))
        at_step(ExportStep.FINISHED)
    return state.report()


def save_all(
    stores: Stores, folder: Path, *, tenant_id: UUID | None = None, progress: Progress = no_progress
) -> ExportReport:
    """Writes every message of the content tier (of one tenant, where given) as `<tenant id>/<message id>.eml`.

    Needs nothing of the OLTP tier, so it works when that is lost.

    Raises:
        ServerError: a store does not answer.
    """
    folders, state = dict[UUID, MailFolder](), _State("")
    with _typed_errors(folder), ContentReader(stores) as reader:
        names = storage_keys(stores, tenant_id)
        while batch := list(itertools.islice(names, _NOTE_EVERY)):
            for name, found in reader.read_many(batch):
                owner, _ = ids_of(name)
                if owner not in folders:
                    folders[owner] = open_folder(Format.EML, folder / str(owner), 0)
                state = _write(folders[owner], name, found, state)
            progress(len(batch))
    return state.report()


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


@contextlib.contextmanager
def _opened(form: Format, path: Path, whole_bytes: int) -> Iterator[MailFolder]:
    folder = open_folder(form, path, whole_bytes)
    try:
        yield folder
    finally:
        folder.close()


@contextlib.contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"path {path}",
            f"cannot be written ({error.strerror})",
            "Make room or mend its rights, then run the same command again: it goes on.",
        ) from error


def _write(folder: MailFolder, name: str, found: MessageRead | PlatformError, state: _State) -> _State:
    if isinstance(
        found, ContentGone | ContentUnknown
    ):  # since the page was read; or its body left before it was ever stored
        return replace(state, gone=state.gone + 1)
    if isinstance(found, PlatformError):
        named = (*state.unreadable_keys, name) if state.unreadable < _MOST_NAMED else state.unreadable_keys
        return replace(state, unreadable=state.unreadable + 1, unreadable_keys=named)
    _, message_id = ids_of(name)
    folder.add(message_id, found.raw)
    return replace(
        state,
        messages=state.messages + 1,
        size_bytes=state.size_bytes + len(found.raw),
        without_attachments=state.without_attachments + (found.attachments_gone > 0),
    )


def _begin(note: Path, scope: ExportScope, form: Format) -> _State:
    """Returns where to go on."""
    asked = f"{form}|{scope.tenant_id}|{scope.campaign_id}|{(scope.address or '').strip().lower()}"
    fresh = _State(hashlib.sha256(asked.encode()).hexdigest())
    try:
        saved = orjson.loads(note.read_bytes())
    except FileNotFoundError:
        return fresh
    except orjson.JSONDecodeError:
        saved = {}
    if saved.get("scope") != fresh.scope:
        raise InputError(f"file {note}", "belongs to another export", "Name another path with --to, or remove it.")
    state = _State(**{**saved, "unreadable_keys": tuple(saved["unreadable_keys"])})
    return fresh if state.finished else state


def _save(note: Path, state: _State) -> None:
    unfinished = note.with_name(f"{note.name}.part")
    with unfinished.open("wb") as file:
        file.write(orjson.dumps(asdict(state)))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(note)
