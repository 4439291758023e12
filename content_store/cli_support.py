"""What the commands of this tier share: opening stores, options, lists of storage keys, a progress bar.

Belongs here: only what two of the command modules need. Does not belong here: a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from penguinmails.content_store.ports import MessageBodies
from penguinmails.stack.console import progress
from penguinmails.stack.ports import port
from penguinmails.stack.stores import Stores, resolve

execute_option = click.option("--execute", is_flag=True, help="Do it; without this, only say what would be done.")
tenant_option = click.option("--tenant", "tenant_id", type=click.UUID, required=True)
names_argument = click.argument("storage_keys", nargs=-1)
file_option = click.option(
    "--from",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of storage keys, one a line.",
)


def open_stores() -> Stores:
    """Returns the stores that the settings name."""
    return resolve()


def open_bodies(stores: Stores) -> MessageBodies:
    """Returns where messages wait to be handed over."""
    bodies: MessageBodies = port("message_bodies")(stores)
    return bodies


def all_names(storage_keys: tuple[str, ...], listed: Path | None) -> list[str]:
    """Returns the storage keys named on the command line and in a file, each once."""
    lines = listed.read_text(encoding="utf-8").split() if listed else []
    return list(dict.fromkeys([*storage_keys, *lines]))


@contextmanager
def progress_bar(description: str, total: int | None, *, visible: bool) -> Iterator[Callable[[int], Any]]:
    """Shows a bar and gives what moves it on."""
    with progress(visible=visible) as bar:
        task = bar.add_task(description, total=total)
        yield lambda units: bar.advance(task, units)
