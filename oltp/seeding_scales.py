"""How much is seeded.

Belongs here: the scales and which tenants one has. Does not belong here: rows (seeding_batch.py), order and restart
(seeding.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from penguinmails.oltp.seeding_tenant import tenant_id_of
from penguinmails.stack.errors import InputError


@dataclass(frozen=True)
class Scale:
    """How much is seeded.

    Args:
        tenants: how many tenants.
        leads: leads of each tenant.
        campaigns: campaigns of each tenant.
        leads_per_campaign: to how many of its leads a campaign goes.
        with_bodies: whether messages have their original bytes.
    """

    tenants: int
    leads: int
    campaigns: int
    leads_per_campaign: int
    with_bodies: bool

    @property
    def addresses(self) -> int:
        """Sending addresses that its tenants use."""
        return max(self.tenants // 2, 8)


SCALES = MappingProxyType(
    {
        "tiny": Scale(tenants=2, leads=12, campaigns=2, leads_per_campaign=8, with_bodies=True),
        "demo": Scale(tenants=5, leads=120, campaigns=4, leads_per_campaign=60, with_bodies=True),
        # Enough rows for the planner to think as it does at full size.
        "medium": Scale(tenants=25, leads=200, campaigns=10, leads_per_campaign=40, with_bodies=False),
        # The product's documents: 500 tenants, 5,000 campaigns, 100,000 leads; 1 M messages and 5 M events follow.
        "documented": Scale(tenants=500, leads=200, campaigns=10, leads_per_campaign=78, with_bodies=False),
        "large": Scale(tenants=2_000, leads=500, campaigns=20, leads_per_campaign=150, with_bodies=False),
    }
)


@dataclass(frozen=True)
class Seeding:
    """A scale under a seed: its tenants follow from the two.

    Args:
        scale: one of SCALES.
        number: the seed.
    """

    scale: str
    number: int

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale {self.scale}", "does not exist", f"Choose one of {', '.join(SCALES)}.")

    @property
    def size(self) -> Scale:
        return SCALES[self.scale]

    @property
    def tenants_seed(self) -> int:
        """One number for seed and scale, the same in every process: tenants of two scales stand beside one another."""
        return self.number * 100 + list(SCALES).index(self.scale)

    def tenant_id(self, place: int) -> UUID:
        """Id of the tenant in that place, known without making it."""
        return tenant_id_of(self.tenants_seed, place)
