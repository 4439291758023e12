"""Ports: how one tier reaches what another tier has without importing it.

A port is a `typing.Protocol` that the tier in need declares; the tier that has it names its implementation in
pyproject.toml under `penguinmails.ports`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from penguinmails.stack.errors import SettingsError


def port(name: str) -> Any:
    """Returns the object registered for the port `name` (typed by the caller's own Protocol)."""
    return _registered("penguinmails.ports", name).load()


def contributions(group: str) -> dict[str, EntryPoint]:
    """Returns the entry points of `group` by name, not loaded yet."""
    return {entry.name: entry for entry in entry_points(group=group)}


def _registered(group: str, name: str) -> EntryPoint:
    found = contributions(group).get(name)
    if found is None:
        raise SettingsError(f"port {name}", "is not registered", "Install the project again (make run) and retry.")
    return found
