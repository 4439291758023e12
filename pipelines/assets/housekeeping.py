"""Assets of what ages out and is tidied up, in all tiers. Whatever destroys shows its plan only, unless told to execute.

The nightly and weekly schedules tell it to. Belongs here: when and how much. Does not belong here: what may go; each tier
asks that again in the transaction that deletes.
"""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from penguinmails.pipelines import metadata
from penguinmails.pipelines.assets.content_store import PACKS
from penguinmails.pipelines.assets.job_queue import JOBS
from penguinmails.pipelines.assets.olap import LANDING
from penguinmails.pipelines.assets.oltp import SCHEMA
from penguinmails.pipelines.instance import MARTS_POOL
from penguinmails.pipelines.jobs import HOUSEKEEPING, NIGHTLY, WEEKLY
from penguinmails.pipelines.reporting import progress_of
from penguinmails.pipelines.resources import Platform
from penguinmails.pipelines.run_history import count_old_runs, forget_old_runs
from penguinmails.stack.clock import utc_now
from penguinmails.stack.ports import port

_SHOWN = 20


class Destructive(dg.Config):
    """Whether to do what was planned."""

    execute: bool = Field(default=False, description="False shows the plan and changes nothing.")


@dg.asset(
    key=["oltp", "retention"],
    deps=[SCHEMA, LANDING],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"postgres"},
    owners=metadata.OWNERS,
    description="Months of the growing tables that are older than their policy and needed by no other tier.",
)
def oltp_retention(config: Destructive, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
    from penguinmails.olap.statistics import extracted_snapshot
    from penguinmails.oltp.connections import connect
    from penguinmails.oltp.retention import apply, plan

    extracted = extracted_snapshot(platform.stores)
    with connect(platform.stores.oltp_url) as connection:
        steps = (apply if config.execute else plan)(connection, now=utc_now(), extracted=extracted)
    rows = [asdict(step) for step in steps[:_SHOWN]]
    return dg.MaterializeResult(
        metadata={
            "executed": config.execute,
            "months": len(steps),
            "months_kept": sum(bool(step.blocked_by) for step in steps),
            "size_bytes": sum(step.size_bytes for step in steps if not step.blocked_by),
            "plan": metadata.table(("table", "month", "size_bytes", "blocked_by"), rows),
        }
    )


@dg.asset(
    key=["content", "retention"],
    deps=[PACKS],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3", "postgres"},
    owners=metadata.OWNERS,
    description="Messages past the time their tenant's policy keeps them, and soft deletions past undoing. A legal hold "
    "is stronger than both.",
)
def content_retention(
    context: dg.AssetExecutionContext, config: Destructive, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.content_store.retention import apply_retention, plan_retention

    plan = plan_retention(platform.stores, clock=utc_now)
    planned = {
        "executed": config.execute,
        "planned_months": len(plan.months),
        "planned_messages": sum(due.messages for due in plan.months) + sum(due.messages for due in plan.purges),
        "planned_attachments": plan.attachments,
        "held_messages": sum(due.held for due in plan.months) + sum(due.held for due in plan.purges),
    }
    if not config.execute:
        return dg.MaterializeResult(metadata=planned)
    with progress_of("messages destroyed", context.log) as progress:
        destroyed = apply_retention(platform.stores, clock=utc_now, progress=progress)
    return dg.MaterializeResult(metadata=planned | metadata.of_report(destroyed))


@dg.asset(
    key=["content", "erasures"],
    deps=[PACKS],
    check_specs=[
        dg.AssetCheckSpec(
            "no_erasure_is_overdue",
            asset=["content", "erasures"],
            description="The bytes of every erased message have left the object store within 30 days.",
        )
    ],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3", "postgres"},
    owners=metadata.OWNERS,
    description="Erasure requests carried on: unreadable at once, bytes gone within 30 days, certified. What a legal hold "
    "blocks waits for its release.",
)
def content_erasures(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.content_store.erasure import GONE_WITHIN, run_erasures

    states = run_erasures(platform.stores, port("message_bodies")(platform.stores), clock=utc_now)
    overdue = [
        state
        for state in states
        if not state.gone and not state.blocked and utc_now() - state.requested_at > GONE_WITHIN
    ]
    yield dg.MaterializeResult(
        metadata={
            "open_requests": sum(not state.gone for state in states),
            "blocked_messages": sum(state.blocked for state in states),
            "messages_with_bytes_left": sum(state.bytes_left for state in states),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=not overdue,
                check_name="no_erasure_is_overdue",
                metadata={
                    "overdue": len(overdue),
                    "requests": ", ".join(str(state.request_id) for state in overdue[:_SHOWN]),
                },
                description="Run 'penguinmails content compact --execute', then 'penguinmails content erase'."
                if overdue
                else None,
            )
        ],
    )


@dg.asset(
    key=["content", "compaction"],
    deps=[["content", "retention"], ["content", "erasures"]],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3"},
    owners=metadata.OWNERS,
    description="Packs with many dead bytes, small packs and packs with erased messages, rewritten without them.",
)
def content_compaction(
    context: dg.AssetExecutionContext, config: Destructive, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.content_store.compaction import compact, plan_compaction

    candidates = plan_compaction(platform.stores, clock=utc_now)
    planned = {
        "executed": config.execute,
        "planned_packs": len(candidates),
        "planned_dead_bytes": sum(candidate.dead_bytes for candidate in candidates),
    }
    if not config.execute:
        return dg.MaterializeResult(metadata=planned)
    with progress_of("messages moved", context.log) as progress:
        report = compact(platform.stores, clock=utc_now, progress=progress)
    return dg.MaterializeResult(metadata=planned | metadata.of_report(report))


@dg.asset(
    key=["content", "sweep"],
    deps=[["content", "compaction"]],
    check_specs=[
        dg.AssetCheckSpec(
            "bucket_and_index_agree",
            asset=["content", "sweep"],
            description="No object is in the bucket that the index has no reason to keep.",
        )
    ],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"s3"},
    owners=metadata.OWNERS,
    description="Objects of packs that were given up or condemned, removed; the bucket listed and compared with the index. "
    "What only a listing finds is removed unless too much would go or it may hold mail.",
)
def content_sweep(config: Destructive, platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.content_store.orphans import find_orphans
    from penguinmails.content_store.sweeping import sweep

    swept = metadata.of_report(sweep(platform.stores, clock=utc_now)) if config.execute else {}
    found = find_orphans(platform.stores, clock=utc_now, execute=config.execute)
    left = len(found.orphans) - found.deleted + len(found.not_understood)
    yield dg.MaterializeResult(
        metadata={"executed": config.execute, "orphans": len(found.orphans)} | swept | metadata.of_report(found),
        check_results=[
            dg.AssetCheckResult(
                passed=left == 0,
                check_name="bucket_and_index_agree",
                metadata={"left": left, "examples": ", ".join((*found.not_understood, *found.orphans)[:_SHOWN])},
                description=f"Run 'penguinmails content orphans'. {found.refused}" if left else None,
            )
        ],
    )


@dg.asset(
    key=["queue", "archive"],
    deps=[JOBS],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"parquet", "s3"},
    owners=metadata.OWNERS,
    description="Finished jobs leave PostgreSQL as Parquet by UTC day; files past their time are deleted, of attempts their "
    "daily sums stay.",
)
def queue_archive(
    context: dg.AssetExecutionContext, config: Destructive, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.queue.archive import archive_finished
    from penguinmails.queue.retention import forget_old

    with progress_of("jobs archived", context.log) as progress:
        report = archive_finished(platform.stores, clock=utc_now, progress=progress)
    forgotten = forget_old(platform.stores, dry_run=not config.execute, clock=utc_now)
    old = {f"old_{name}": value for name, value in metadata.of_report(forgotten).items()}
    return dg.MaterializeResult(metadata=metadata.of_report(report) | old)


@dg.asset(
    key=["olap", "landing_compaction"],
    deps=[LANDING],
    group_name=HOUSEKEEPING,
    tags=WEEKLY,
    kinds={"parquet", "s3"},
    owners=metadata.OWNERS,
    pool=MARTS_POOL,
    description="The landing zone as one new base batch; the batches before it go, and erased persons with them.",
)
def landing_compaction(
    context: dg.AssetExecutionContext, config: Destructive, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult[None]:
    from penguinmails.olap.compacting import compact

    with progress_of("rows compacted", context.log) as progress:
        report = compact(platform.stores, dry_run=not config.execute, progress=progress)
    return dg.MaterializeResult(metadata={"executed": config.execute} | metadata.of_report(report))


@dg.asset(
    key=["olap", "verification"],
    deps=[LANDING],
    check_specs=[
        dg.AssetCheckSpec(
            "facts_equal_a_recomputation",
            asset=["olap", "verification"],
            description="Facts kept up to date by differences equal facts made from scratch, row for row.",
        )
    ],
    group_name=HOUSEKEEPING,
    tags=WEEKLY,
    kinds={"duckdb"},
    owners=metadata.OWNERS,
    pool=MARTS_POOL,
    description="The facts made a second time, from everything landed, and compared.",
)
def verification(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
    from penguinmails.olap.verifying import verify

    tables = verify(platform.stores)
    different = [each for each in tables if each.missing or each.unexpected]
    yield dg.MaterializeResult(
        metadata={
            "tables": metadata.table(("table", "rows", "missing", "unexpected"), [asdict(each) for each in tables])
        },
        check_results=[
            dg.AssetCheckResult(
                passed=not different,
                check_name="facts_equal_a_recomputation",
                metadata={"tables_that_differ": len(different)},
                description="Run 'penguinmails marts rebuild', then publish, and report how it came about."
                if different
                else None,
            )
        ],
    )


@dg.asset(
    key=["dagster", "run_history"],
    group_name=HOUSEKEEPING,
    tags=NIGHTLY,
    kinds={"dagster"},
    owners=metadata.OWNERS,
    description="Runs of Dagster past their time, with their events: of the five-minute probe after a week, of housekeeping "
    "after a year. Runs of days stay: their partitions would look as if they had never been made.",
)
def run_history(context: dg.AssetExecutionContext, config: Destructive) -> dg.MaterializeResult[None]:
    if config.execute:
        with progress_of("runs forgotten", context.log) as progress:
            old = forget_old_runs(context.instance, now=utc_now(), progress=progress)
    else:
        old = count_old_runs(context.instance, now=utc_now())
    by_job = {f"{job}_runs": runs for job, runs in old.runs_by_job.items()}
    return dg.MaterializeResult(metadata={"executed": config.execute, "runs": old.runs} | by_job)


ASSETS = [
    oltp_retention,
    content_retention,
    content_erasures,
    content_compaction,
    content_sweep,
    queue_archive,
    landing_compaction,
    verification,
    run_history,
]
