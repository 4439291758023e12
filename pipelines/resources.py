"""The one resource: where every store is. Nothing is opened or started before a step needs it.

A plain object on purpose: it has no settings of its own to edit in a launchpad; settings come from the environment.
"""

from __future__ import annotations

from functools import cached_property

from penguinmails.stack.stores import Stores, resolve


class Platform:
    """Addresses of all stores; the embedded servers are started when a step first asks.

    Args:
        stores: stores that are known already; None takes them from the environment.
    """

    def __init__(self, stores: Stores | None = None) -> None:
        self._known = stores

    @cached_property
    def stores(self) -> Stores:
        return self._known or resolve()
