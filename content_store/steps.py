"""Every point at which the process may die and something durable is half done.

Each piece of work takes `at_step` and names the step that is now durable; the fault tests end a real process at every
entry here and look at what the next run makes of it.

Belongs here: the names, and who is told. Does not belong here: what happens at a step.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class HandOverStep(StrEnum):
    """Messages on their way into packs (hand_over.py, pack_writer.py)."""

    CLAIMED = "claimed"
    PACK_RECORDED = "pack_recorded"
    BUILT = "built"
    STORED = "stored"
    READ_BACK = "read_back"
    COMMITTED = "committed"
    MARKED = "marked"
    REMOVED = "removed"


class TrainingStep(StrEnum):
    """A dictionary on its way into the object store (dictionary_catalog.py); part of a hand-over."""

    RECORDED = "recorded"
    STORED = "stored"
    LIVE = "live"


class CompactionStep(StrEnum):
    """Messages on their way into new packs (compaction.py)."""

    PACK_RECORDED = "pack_recorded"
    BUILT = "built"
    STORED = "stored"
    READ_BACK = "read_back"
    MOVED = "moved"


class ErasureStep(StrEnum):
    """Messages that go for ever (erasure.py, tenant_key_removal.py)."""

    KEYS_DROPPED = "keys_dropped"
    BODIES_DROPPED = "bodies_dropped"
    CERTIFIED = "certified"
    TENANT_KEY_DROPPED = "tenant_key_dropped"
    TENANT_KEY_DESTROYED = "tenant_key_destroyed"


class RetentionStep(StrEnum):
    """Messages past their time (retention.py)."""

    PAGE_DESTROYED = "page_destroyed"


class RotationStep(StrEnum):
    """A tenant's data keys under a new generation (key_rotation.py)."""

    GENERATION_MADE = "generation_made"
    PAGE_REWRAPPED = "page_rewrapped"


class SweepStep(StrEnum):
    """Objects that nothing points to any more (sweeping.py)."""

    GIVEN_UP = "given_up"
    OBJECTS_DELETED = "objects_deleted"
    ROWS_MARKED = "rows_marked"


class ExportStep(StrEnum):
    """Messages being saved (export.py)."""

    MESSAGE_WRITTEN = "message_written"
    MESSAGE_NOTED = "message_noted"
    FINISHED = "finished"


Step = (
    HandOverStep | TrainingStep | CompactionStep | ErasureStep | RetentionStep | RotationStep | SweepStep | ExportStep
)
AtStep = Callable[[Step], None]
ALL_STEPS: tuple[type[StrEnum], ...] = (
    HandOverStep,
    TrainingStep,
    CompactionStep,
    ErasureStep,
    RetentionStep,
    RotationStep,
    SweepStep,
    ExportStep,
)


def no_step(_step: Step) -> None:
    """Tells nobody."""
