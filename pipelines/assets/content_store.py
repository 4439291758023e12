"""Assets of the content tier: bodies moved into packs, a UTC day of intake at a time."""

from datetime import timedelta

import dagster as dg
from pydantic import Field

from penguinmails.content_store.ports import DEFAULT_GRACE
from penguinmails.pipelines import metadata
from penguinmails.pipelines.partitions import DAILY, days_of
from penguinmails.pipelines.reporting import collect, progress_of
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now
from penguinmails.stack.ports import port

GROUP = "content"
INDEX = dg.AssetKey(["content", "index"])
PACKS = dg.AssetKey(["content", "packs"])


@dg.asset(
    key=INDEX,
    group_name=GROUP,
    kinds={"postgres", "sql"},
    owners=metadata.OWNERS,
    description="The index of the content tier: which message lies in which pack, and its wrapped key.",
)
def index(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.content_store.index import migrate

    return dg.MaterializeResult(metadata={"migrations_applied": len(migrate(platform.stores))})


class HandOver(dg.Config):
    """How bodies leave PostgreSQL."""

    grace_hours: float = Field(
        default=DEFAULT_GRACE.total_seconds() / 3600,
        ge=0,
        description="Hours a body stays in PostgreSQL after it was stored, read back and verified.",
    )


@dg.asset(
    key=PACKS,
    deps=[INDEX, ["oltp", "email_messages"], ["oltp", "email_message_bodies"]],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    kinds={"s3", "postgres"},
    owners=metadata.OWNERS,
    description="Bodies of the messages taken in on this UTC day: compressed, encrypted, packed, stored, read back "
    "and verified before they leave PostgreSQL.",
)
def packs(
    context: dg.AssetExecutionContext, config: HandOver, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.content_store.hand_over import hand_over
    from penguinmails.content_store.statistics import content_statistics

    stores = platform.stores
    bodies = port("message_bodies")(stores)
    first, last = days_of(context)
    # A range that reaches the present takes everything that waits; a single past day takes that day only.
    day = first if first == last and last < utc_now().date() else None
    waiting = bodies.backlog(day).messages
    with progress_of("bodies handed over", context.log, total=waiting) as progress:
        report = hand_over(
            stores, bodies, day=day, grace=timedelta(hours=config.grace_hours), clock=utc_now, progress=progress
        )
    collect("hand_over", report)
    statistics = {f"tier_{name}": value for name, value in metadata.of_report(content_statistics(stores)).items()}
    return dg.MaterializeResult(metadata=metadata.of_report(report) | statistics)


ASSETS = [index, packs]
