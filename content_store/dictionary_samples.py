"""Which messages a dictionary is trained on, and what training looks like from outside.

Belongs here: choosing samples; no numpy, which only the process that trains needs. Does not belong here: the training
(dictionary_training.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penguinmails.content_store.codec import Dictionary

MINIMUM_CORRESPONDENTS = 5
"""k: a piece of a dictionary was exchanged with at least so many different people."""
MOST_BYTES_OF_A_MESSAGE = 64 << 10
"""What comes after them is not learnt from."""
_MOST_MESSAGES = 3_000
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One message to learn from."""

    correspondent: str
    raw: bytes


def choose_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Returns an even selection that training can work through in a few seconds."""
    size_bytes = sum(min(len(sample.raw), MOST_BYTES_OF_A_MESSAGE) for sample in samples)
    step = max(1, -(-len(samples) // _MOST_MESSAGES), -(-size_bytes // _MOST_BYTES))
    # In order of size, messages of one campaign stand together: each campaign gets its share, not a chance of one.
    return sorted(samples, key=lambda sample: (len(sample.raw), sample.raw))[::step]


class Train(Protocol):
    """Makes a dictionary (`dictionary_training.train_dictionary`, here or in another process)."""

    def __call__(self, samples: Sequence[Sample], dictionary_id: int, /, *, level: int) -> Dictionary | None: ...


def train_here(samples: Sequence[Sample], dictionary_id: int, /, *, level: int) -> Dictionary | None:
    """Trains in this process."""
    from penguinmails.content_store.dictionary_training import train_dictionary  # numpy: only who trains needs it

    return train_dictionary(samples, dictionary_id, level=level)
