"""Commands of `penguinmails queue` that look at jobs and change them.

Belongs here: their arguments and output. Does not belong here: what they do (operations.py, inspection.py), the commands that
run processes (cli.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from rich.table import Table

from penguinmails.queue.cli_options import FiniteRange, filters, job_filter, orders, require_filter, who_and_why
from penguinmails.stack.console import console, json_option, print_json, progress, size

if TYPE_CHECKING:
    from penguinmails.queue.operations import JobFilter, Order, OrderReport, Switched


@click.command("list")
@filters
@click.option("--at-most", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def list_jobs(at_most: int, as_json: bool, **arguments: Any) -> None:
    """List jobs that fit a filter, the oldest first."""
    from penguinmails.queue.connections import connect
    from penguinmails.queue.operations import matching
    from penguinmails.queue.schema import migrated_stores
    from penguinmails.queue.views import list_lines

    with connect(migrated_stores().queue_url) as connection:
        jobs = matching(connection, job_filter(arguments), at_most)
    if as_json:
        print_json(jobs)
        return
    if not jobs:
        console.print("No job fits.")
    for job in jobs:
        console.print(list_lines(job), highlight=False, soft_wrap=True)


@click.command()
@click.argument("job_id", type=click.UUID)
@json_option
def show(job_id: UUID, as_json: bool) -> None:
    """Show one job with its attempts."""
    from penguinmails.queue.inspection import show as look
    from penguinmails.queue.schema import migrated_stores

    report = look(migrated_stores(), job_id)
    if as_json:
        print_json(report)
        return
    for name, value in report.job.items():
        if value is not None:
            console.print(f"{name:20} {value}", markup=False)
    for attempt in report.attempts:
        seconds = "?" if attempt["seconds"] is None else f"{attempt['seconds']:.3f}"
        line = f"attempt {attempt['attempt_number']}: {attempt['status']} after {seconds} s  {attempt['log_message'] or ''}"
        console.print(line, markup=False)


@click.command()
@click.argument("job_id", type=click.UUID)
@json_option
def why(job_id: UUID, as_json: bool) -> None:
    """Say why a job is not running."""
    from penguinmails.queue.inspection import why as explain
    from penguinmails.queue.schema import migrated_stores

    explanation = explain(migrated_stores(), job_id)
    if as_json:
        print_json(explanation)
        return
    console.print(f"{explanation.status}:")
    for reason in explanation.reasons:
        console.print(f"  {reason}", markup=False)


@click.command()
@click.option("--stagger-seconds", default=0.0, type=FiniteRange(0, 3_600), help="Time between two of them.")
@orders
def replay(stagger_seconds: float, **arguments: Any) -> None:
    """Let dead letters start over."""
    from penguinmails.queue.operations import replay as change

    _carry_out(lambda stores, jobs, order: change(stores, jobs, order, stagger_seconds=stagger_seconds), arguments)


@click.command()
@orders
def retry(**arguments: Any) -> None:
    """Let jobs that wait for their next attempt or their time run now."""
    from penguinmails.queue.operations import retry_now

    _carry_out(retry_now, arguments)


@click.command()
@orders
def cancel(**arguments: Any) -> None:
    """Take live jobs out for good; handlers that run are ended."""
    from penguinmails.queue.operations import cancel as change

    _carry_out(change, arguments)


@click.command()
@click.argument("queue_name")
@who_and_why
@json_option
def pause(queue_name: str, actor: str, reason: str, as_json: bool) -> None:
    """Stop a queue: nothing of it starts until it is resumed."""
    from penguinmails.queue.operations import pause as change
    from penguinmails.queue.schema import migrated_stores

    _print_switched(change(migrated_stores(), queue_name, actor=actor, reason=reason), as_json=as_json)


@click.command()
@click.argument("queue_name")
@who_and_why
@json_option
def resume(queue_name: str, actor: str, reason: str, as_json: bool) -> None:
    """Let a paused queue go on."""
    from penguinmails.queue.operations import resume as change
    from penguinmails.queue.schema import migrated_stores

    _print_switched(change(migrated_stores(), queue_name, actor=actor, reason=reason), as_json=as_json)


@click.command()
@click.option(
    "--every",
    "seconds",
    default=1.0,
    show_default=True,
    type=FiniteRange(0.1, 3_600),
    help="Seconds between two looks.",
)
def top(seconds: float) -> None:
    """Watch the queue live; q ends it."""
    from penguinmails.queue.schema import migrated_stores
    from penguinmails.queue.top import watch

    watch(migrated_stores(), console, seconds)


@click.command()
@click.option("--yes", is_flag=True, help="Also delete what is past its time; without this it is only counted.")
@json_option
def archive(yes: bool, as_json: bool) -> None:
    """Move jobs that ended long ago to Parquet files, and delete what is past its time."""
    from penguinmails.queue.archive import archive_finished
    from penguinmails.queue.retention import forget_old
    from penguinmails.queue.schema import migrated_stores

    stores = migrated_stores()
    with progress(visible=not as_json) as bar:
        task = bar.add_task("archiving jobs", total=None)
        moved = archive_finished(stores, progress=lambda count: bar.advance(task, count))
    old = forget_old(stores, dry_run=not yes)
    if as_json:
        print_json({"archived": moved, "past_their_time": old})
        return
    console.print(
        f"{moved.jobs:,} jobs and {moved.logs:,} attempts left in {moved.files} files ({size(moved.size_bytes)})"
    )
    verb = "would be deleted; add --yes to do it" if old.dry_run else "deleted"
    console.print(
        f"{old.files:,} files past their time ({size(old.size_bytes)}), {old.ticks:,} ticks of schedules and "
        f"{old.sent_mail:,} rows of the ledger of sent mail {verb}"
    )


@click.command()
@click.option("--at-most", default=20, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def tenants(at_most: int, as_json: bool) -> None:
    """Show the tenants with the most live jobs."""
    from penguinmails.queue.probe import probe_tenants
    from penguinmails.queue.schema import migrated_stores

    found = probe_tenants(migrated_stores(), at_most=at_most)
    if as_json:
        print_json(found)
        return
    table = Table("tenant", "ready", "handed over", "running", "oldest")
    for each in found:
        counts = (f"{each.ready:,}", f"{each.handed_off:,}", f"{each.running:,}")
        table.add_row(each.tenant_id, *counts, f"{each.oldest_ready_seconds:,.0f} s")
    console.print(table if found else "No tenant has a live job.")


@click.command()
@click.argument("queue_name")
@click.argument("tenant_id", type=click.UUID)
@click.option(
    "--jobs-per-second",
    type=FiniteRange(0, min_open=True),
    help="Starts in the long run; without it the limit is taken away.",
)
@click.option(
    "--burst",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Starts at once after a quiet time.",
)
@who_and_why
@json_option
def limit(
    queue_name: str,
    tenant_id: UUID,
    jobs_per_second: float | None,
    burst: int,
    actor: str,
    reason: str,
    as_json: bool,
) -> None:
    """Limit how fast a tenant's jobs may start on a queue."""
    from penguinmails.queue.limits import remove_limit, set_limit
    from penguinmails.queue.schema import migrated_stores

    stores = migrated_stores()
    if jobs_per_second is None:
        changed = remove_limit(stores, queue_name, tenant_id, actor=actor, reason=reason)
    else:
        rate = {"jobs_per_second": jobs_per_second, "burst": burst}
        set_limit(stores, queue_name, tenant_id, actor=actor, reason=reason, **rate)  # type: ignore[arg-type]
        changed = True
    if as_json:
        print_json({"changed": changed, "jobs_per_second": jobs_per_second, "burst": burst})
    else:
        console.print(
            "Limit set." if jobs_per_second is not None else "Limit taken away." if changed else "There was none."
        )


@click.command()
@click.option("--at-most", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def audit(at_most: int, as_json: bool) -> None:
    """Show who changed what, and why, the newest first."""
    from penguinmails.queue.connections import connect
    from penguinmails.queue.operations import audited
    from penguinmails.queue.schema import migrated_stores

    with connect(migrated_stores().queue_url) as connection:
        found = audited(connection, at_most)
    if as_json:
        print_json(found)
        return
    if not found:
        console.print("Nobody has changed anything.")
    for each in found:
        what = ", ".join(f"{name} {value}" for name, value in each["job_filter"].items())
        line = f"{each['created']:%Y-%m-%d %H:%M:%S}  {each['actor']}  {each['action']}  {each['jobs_changed']:,} jobs"
        console.print(f"{line}  ({what or 'all'})  {each['reason']}", markup=False, soft_wrap=True)


COMMANDS = (list_jobs, show, why, replay, retry, cancel, pause, resume, top, archive, tenants, limit, audit)


def _carry_out(change: Callable[[Any, JobFilter, Order], OrderReport], arguments: dict[str, Any]) -> None:
    from penguinmails.queue.operations import Order
    from penguinmails.queue.schema import migrated_stores
    from penguinmails.queue.views import list_lines

    as_json = arguments.pop("as_json")
    names = {"actor": "actor", "reason": "reason", "at_most": "at_most"}
    order = Order(dry_run=not arguments.pop("yes"), **{name: arguments.pop(given) for given, name in names.items()})
    require_filter(arguments, is_for_all=arguments.pop("is_for_all"))
    report = change(migrated_stores(), job_filter(arguments), order)
    if as_json:
        print_json(report)
        return
    for job in report.examples:
        console.print(list_lines(job), highlight=False, soft_wrap=True)
    if report.dry_run:
        more = ", the first of them above" if report.matched > len(report.examples) > 0 else ""
        console.print(f"{report.action} would take {report.matched:,} jobs{more}; add --yes to do it.")
    else:
        console.print(f"{report.action}: {report.changed:,} jobs changed.")


def _print_switched(switched: Switched, *, as_json: bool) -> None:
    if as_json:
        print_json(switched)
        return
    state = "active" if switched.is_active else "paused"
    if not switched.changed:
        console.print(f"Queue {switched.queue_name} was {state} already.", markup=False)
        return
    taken_back = "" if switched.is_active else f"; {switched.taken_back:,} jobs were taken back from Redis"
    console.print(f"Queue {switched.queue_name} is {state}{taken_back}.", markup=False)
