"""Checks of the OLAP tier: the facts agree with the operational database, the published marts keep their contract and are
fresh, what cannot count is seen, what was erased is forgotten in time."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from penguinmails.pipelines import metadata
from penguinmails.pipelines.assets.olap import FACTS, LANDING, PUBLISHED
from penguinmails.pipelines.checks.olap_live_path import CHECKS as LIVE_PATH_CHECKS
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now

_CONTRACT = "keeps_its_contract"
_LONGEST_LAG = timedelta(hours=26)
"""A daily roll-up and two hours."""
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


@dg.multi_asset_check(
    name="marts_keep_their_contract",
    specs=[
        dg.AssetCheckSpec(
            _CONTRACT,
            asset=spec.key,
            description="The published mart has the columns, types, comments and distinct keys that it declares.",
        )
        for spec in (*FACTS, *PUBLISHED)
    ],
)
def marts_keep_their_contract(platform: dg.ResourceParam[Platform]) -> Iterator[dg.AssetCheckResult]:
    from penguinmails.olap.contract import broken_promises

    for mart, broken in broken_promises(platform.stores).items():
        yield dg.AssetCheckResult(
            passed=not broken,
            asset_key=["olap", mart],
            check_name=_CONTRACT,
            metadata={"broken": len(broken)},
            description=f"{'; '.join(broken[:_SHOWN])}. Run 'penguinmails marts publish'; if it stays, 'marts rebuild' and "
            "publish again."
            if broken
            else None,
        )


@dg.asset_check(
    asset=PUBLISHED[0].key,
    description="The published marts are complete up to less than 26 hours ago, whichever day was rolled up last.",
)
def marts_are_fresh(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.olap.statistics import age_seconds, published_state

    state = published_state(platform.stores)
    age = age_seconds(state, utc_now())
    passed = age <= _LONGEST_LAG.total_seconds()
    return dg.AssetCheckResult(
        passed=passed,
        metadata={"lag_seconds": age, "publication": state.number},
        description=None
        if passed
        else "Run 'penguinmails marts roll-up', then 'penguinmails marts publish'; then see why the daily run did not.",
    )


@dg.asset_check(
    asset=LANDING,
    description="The landing zone was compacted and old published files removed within 30 days: nothing of a person who was "
    "erased longer ago is left.",
)
def erased_persons_are_forgotten_in_time(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.olap.forgetting import forgetting_state

    state = forgetting_state(platform.stores, utc_now())
    return dg.AssetCheckResult(
        passed=state.in_time,
        metadata={
            "landing_days": state.landing_days,
            "oldest_publication_days": state.oldest_publication_days,
        },
        description=state.remedy,
    )


CHECKS = [
    facts_agree_with_the_database,
    few_events_are_quarantined,
    marts_keep_their_contract,
    marts_are_fresh,
    erased_persons_are_forgotten_in_time,
    *LIVE_PATH_CHECKS,
]
