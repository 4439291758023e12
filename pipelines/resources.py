"""The one resource: where every store is. Nothing is opened or started before a step needs it."""

from __future__ import annotations

from functools import cached_property

import dagster as dg
from pydantic import PrivateAttr

from penguinmails.stack.stores import Stores, resolve


class Platform(dg.ConfigurableResource[Stores]):
    """Addresses of all stores, from the environment; the embedded servers are started when a step first asks."""

    _fixed: Stores | None = PrivateAttr(default=None)

    @cached_property
    def stores(self) -> Stores:
        return self._fixed or resolve()

    @classmethod
    def at(cls, stores: Stores) -> Platform:
        """Returns the resource for stores that are known already."""
        platform = cls()
        platform._fixed = stores
        return platform
