"""Checks of the OLAP tier: the facts agree with the operational database, and what cannot count is seen."""

from typing import Any

import dagster as dg

from penguinmails.pipelines import metadata
from penguinmails.pipelines.assets.olap import FACTS
from penguinmails.pipelines.checks.olap_live_path import CHECKS as LIVE_PATH_CHECKS
from penguinmails.pipelines.resources import Platform

_SHOWN = 10


@dg.asset_check(
    asset=FACTS[0].key,
    blocking=True,
    description="Count and checksum of the events of every tenant and day are those of the operational database at "
    "the same snapshot. Publishing makes the same comparison for the days that changed.",
)
def facts_agree_with_the_database(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.olap.reconcile import reconcile

    report = reconcile(platform.stores)
    days = ", ".join(sorted({str(found.day) for found in report.differences})[:_SHOWN])
    return dg.AssetCheckResult(
        passed=not report.differences,
        metadata={
            "days": report.days,
            "events": report.rows,
            "differences": len(report.differences),
            "seconds": report.seconds,
        },
        description=f"Days that differ: {days}. Run 'penguinmails marts rebuild', then publish." if days else None,
    )


@dg.asset_check(
    asset=FACTS[0].key,
    description="Few events are in the quarantine, by reason, and none of a type that nobody knows. They count in no mart "
    "and are never dropped; most leave by themselves, when their message arrives.",
)
def few_events_are_quarantined(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.olap.quarantine import quarantine_state

    state = quarantine_state(platform.stores)
    rows = [{"reason": reason.name, "events": events, "remedy": reason.remedy} for reason, events in state.by_reason]
    figures: dict[str, Any] = {reason.name: events for reason, events in state.by_reason}
    return dg.AssetCheckResult(
        passed=state.is_small,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=figures
        | {
            "events_quarantined": state.events_quarantined,
            "events": state.events,
            "reasons": metadata.table(("reason", "events", "remedy"), rows),
        },
        description=state.remedy,
    )


CHECKS = [facts_agree_with_the_database, few_events_are_quarantined, *LIVE_PATH_CHECKS]
