"""Assets of the content tier: bodies moved into packs, a UTC day of intake at a time; their dictionaries; packs read again."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta

import dagster as dg
from pydantic import Field

from penguinmails.content_store.ports import DEFAULT_GRACE
from penguinmails.pipelines import metadata
from penguinmails.pipelines.jobs import HOUSEKEEPING, NIGHTLY
from penguinmails.pipelines.partitions import DAILY, days_of
from penguinmails.pipelines.reporting import collect, progress_of
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now
from penguinmails.stack.ports import port

GROUP = "content"
INDEX = dg.AssetKey(["content", "index"])
PACKS = dg.AssetKey(["content", "packs"])
VERIFIED_WITHIN_DAYS = 30
_SHOWN = 20


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
    from penguinmails.content_store.bucket import open_bucket
    from penguinmails.content_store.bucket_probe import must_be_usable
    from penguinmails.content_store.hand_over import hand_over
    from penguinmails.content_store.statistics import content_statistics

    stores = platform.stores
    must_be_usable(open_bucket(stores))
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
    held, left = content_statistics(stores), bodies.backlog(None)
    statistics = {f"tier_{name}": value for name, value in metadata.of_report(held).items()}
    classes = metadata.table(
        ("retention_class", "packs", "messages", "shared_attachments", "pack_bytes", "dead_bytes"),
        [asdict(each) for each in held.classes],
    )
    return dg.MaterializeResult(
        metadata=metadata.of_report(report)
        | statistics
        | {
            "ratio": report.ratio or 0.0,
            "tier_ratio": held.ratio or 0.0,
            "puts_per_thousand_messages": 1000 * report.puts / report.messages if report.messages else 0.0,
            "messages_still_waiting": left.messages,
            "oldest_waiting_hours": (utc_now() - left.oldest_at).total_seconds() / 3600 if left.oldest_at else 0.0,
            "objects_by_class": classes,
        }
    )


@dg.asset(
    key=["content", "dictionaries"],
    deps=[PACKS],
    check_specs=[
        dg.AssetCheckSpec(
            "dictionaries_give_nobody_away",
            asset=["content", "dictionaries"],
            description="No address and no long token of stored messages stands in a dictionary.",
        )
    ],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3"},
    owners=metadata.OWNERS,
    description="Dictionaries that hand-overs trained for tenants, from what at least five correspondents have in common.",
)
def dictionaries(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.content_store.dictionary_leaks import check_dictionaries
    from penguinmails.content_store.statistics import content_statistics, dictionary_statistics

    newest = [asdict(each) for each in dictionary_statistics(platform.stores, limit=_SHOWN)]
    report = check_dictionaries(platform.stores, clock=utc_now)
    columns = ("tenant_id", "generations", "newest_at", "size_bytes", "newest_ratio")
    yield dg.MaterializeResult(
        metadata={
            "dictionaries": content_statistics(platform.stores).dictionaries,
            "newest": metadata.table(columns, newest),
        },
        check_results=[metadata.check_result(report, name="dictionaries_give_nobody_away")],
    )


@dg.asset(
    key=["content", "verification"],
    deps=[PACKS],
    check_specs=[
        dg.AssetCheckSpec(
            "packs_read_are_whole",
            asset=["content", "verification"],
            description="The packs read today are what was stored, and every message in them opens.",
        ),
        dg.AssetCheckSpec(
            "every_pack_is_read_in_time",
            asset=["content", "verification"],
            description=f"No pack has gone unread for more than {VERIFIED_WITHIN_DAYS} days.",
        ),
    ],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3"},
    owners=metadata.OWNERS,
    description=f"The packs that were not read for the longest time, read whole and every message in them opened: each "
    f"message once in {VERIFIED_WITHIN_DAYS} days.",
)
def verification(
    context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.content_store.checking import check_verification, verify_packs

    stores = platform.stores
    with progress_of("packs read", context.log) as progress:
        read = verify_packs(stores, clock=utc_now, within_days=VERIFIED_WITHIN_DAYS, progress=progress)
    # A day of grace: the share of the day that a missed run leaves.
    in_time = check_verification(stores, clock=utc_now, within_days=VERIFIED_WITHIN_DAYS + 1)
    yield dg.MaterializeResult(
        metadata={"packs_read": read.looked_at, "packs_in_all": in_time.looked_at},
        check_results=[
            metadata.check_result(read, name="packs_read_are_whole"),
            metadata.check_result(in_time, name="every_pack_is_read_in_time"),
        ],
    )


ASSETS = [index, packs, dictionaries, verification]
