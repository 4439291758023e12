"""Checks of the OLAP tier: the facts agree with the operational database, and no event was lost on the way."""

import dagster as dg

from penguinmails.pipelines.assets.olap import FACTS
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


CHECKS = [facts_agree_with_the_database]
