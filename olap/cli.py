"""The commands `penguinmails marts …`, `penguinmails report` and `penguinmails sql`.

Belongs here: options, what people see. Does not belong here: the work itself.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
from rich.table import Table

from penguinmails.olap.engine_settings import ADDRESS_VARIABLE, ENGINE_VARIABLE, LANDING_VARIABLE
from penguinmails.stack.console import console, json_option, notes, print_json, progress, size


@click.group()
def marts() -> None:
    """The marts: roll up, publish, describe, verify."""


@marts.command("roll-up")
@click.option("--wait", "wait_seconds", default=600.0, show_default=True, help="Seconds to wait for another roll-up.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First UTC day to read again and whole.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last of those days (default: the first).")
@json_option
def roll_up_command(wait_seconds: float, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Bring everything committed so far into the facts."""
    from penguinmails.olap.extraction import Days
    from penguinmails.olap.roll_up import roll_up
    from penguinmails.stack.errors import InputError
    from penguinmails.stack.stores import resolve

    days = Days(first.date(), (last or first).date() + timedelta(days=1)) if first else None
    if (last and not first) or (days and days.after <= days.first):
        raise InputError("--from and --to", "name no days", "Give --from, and --to not before it.")
    with progress() as bar:
        task = bar.add_task("Reading the operational database", total=None)
        report = roll_up(resolve(), progress=lambda rows: bar.advance(task, rows), wait_seconds=wait_seconds, days=days)
    if as_json:
        print_json(report)
        return
    console.print(
        f"{report.rows_extracted:,} rows read ({size(report.landed_bytes)} landed), {report.rows_changed:,} were news; "
        f"{report.days_touched:,} days to reconcile; as of {report.as_of:%Y-%m-%d %H:%M:%S} UTC ({report.seconds:.2f} s)"
    )
    if report.events_quarantined:
        notes.print(f"{report.events_quarantined:,} events cannot count: penguinmails sql 'FROM quarantine_summary'")


@marts.command()
@click.option("--wait", "wait_seconds", default=600.0, show_default=True, help="Seconds to wait for a roll-up.")
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "spark"]),
    default="duckdb",
    show_default=True,
    envvar=ENGINE_VARIABLE,
    show_envvar=True,
    help="What makes the marts: this machine from its build, or Spark from the landing zone.",
)
@click.option("--remote", envvar=ADDRESS_VARIABLE, show_envvar=True, help="Spark Connect server: sc://host:15002.")
@click.option(
    "--landing", envvar=LANDING_VARIABLE, show_envvar=True, help="The bucket as Spark reaches it: s3a://bucket."
)
@json_option
def publish(wait_seconds: float, engine: str, remote: str | None, landing: str | None, as_json: bool) -> None:
    """Reconcile, then give readers the newest facts; with Spark, what is new is landed and rolled up there first."""
    from penguinmails.olap import distributed, publishing
    from penguinmails.stack.errors import InputError
    from penguinmails.stack.stores import resolve

    if engine == "duckdb":
        report = publishing.publish(resolve(), wait_seconds=wait_seconds)
    elif remote is None:
        raise InputError("--engine spark", "does not say where Spark is", f"Give --remote or set {ADDRESS_VARIABLE}.")
    else:
        with distributed.open_session(remote) as session:
            report = distributed.publish_from_engine(
                resolve(), session, landing_address=landing, wait_seconds=wait_seconds
            )
    if as_json:
        print_json(report)
        return
    console.print(
        f"Published number {report.number}: {report.marts} marts, {report.rows:,} rows, {size(report.size_bytes)}; "
        f"{report.days_reconciled} days reconciled ({report.seconds:.2f} s)"
    )
    console.print(f"File: {report.path}")


@marts.command("list")
@json_option
def list_marts(as_json: bool) -> None:
    """Show what is published."""
    from penguinmails.olap.statistics import published_state
    from penguinmails.stack.stores import resolve

    state = published_state(resolve())
    if as_json:
        print_json(state)
        return
    table = Table("mart", "one row", "rows", title=f"Published marts, number {state.number}")
    table.columns[2].justify = "right"
    for mart in state.marts:
        table.add_row(mart.mart, mart.grain, f"{mart.rows:,}")
    console.print(table)


@marts.command()
@click.argument("mart")
@json_option
def describe(mart: str, as_json: bool) -> None:
    """Show what MART and its columns mean."""
    from penguinmails.olap import marts as declared
    from penguinmails.stack.errors import InputError

    known = {found.name: found for found in declared.MARTS}
    if mart not in known:
        raise InputError(f"mart {mart}", "does not exist", f"Known marts: {', '.join(known)}.")
    found = known[mart]
    if as_json:
        print_json(asdict(found))
        return
    console.print(f"[bold]{found.name}[/]  {found.description}")
    console.print(f"One row: {found.grain}. Made from {', '.join(found.depends_on)}.")
    table = Table("column", "type", "meaning", "unit", "source or formula")
    for column in found.columns:
        name = f"[bold]{column.name}[/]" if column.name in found.key else column.name
        table.add_row(name, column.type, column.description, column.unit, column.source)
    console.print(table)


@marts.command()
@json_option
def freshness(as_json: bool) -> None:
    """Show up to which moment the published marts are complete."""
    from penguinmails.olap.statistics import age_seconds, published_state
    from penguinmails.stack.stores import resolve

    state = published_state(resolve())
    age = age_seconds(state, datetime.now(UTC))
    if as_json:
        print_json({"as_of": state.as_of, "published_at": state.published_at, "age_seconds": age})
        return
    console.print(f"Complete up to {state.as_of:%Y-%m-%d %H:%M:%S} UTC, {age:,.0f} s ago; publication {state.number}")


@marts.command()
@click.option("--from-database", is_flag=True, help="Read everything anew instead of using the landing zone.")
@json_option
def rebuild(from_database: bool, as_json: bool) -> None:
    """Make the facts anew."""
    from penguinmails.olap import roll_up
    from penguinmails.stack.stores import resolve

    report = roll_up.rebuild(resolve(), from_database=from_database)
    if as_json:
        print_json(report)
        return
    console.print(f"Made anew as of {report.as_of:%Y-%m-%d %H:%M:%S} UTC. Publish it: penguinmails marts publish")


@marts.command()
@json_option
def verify(as_json: bool) -> None:
    """Compare every day with the operational database, and the facts with facts made from scratch."""
    from penguinmails.olap.errors import ReconciliationFailed
    from penguinmails.olap.reconcile import reconcile, require_agreement
    from penguinmails.olap.verifying import verify as verify_facts
    from penguinmails.stack.stores import resolve

    stores = resolve()
    reconciled = reconcile(stores)
    compared = verify_facts(stores)
    if as_json:
        print_json({"reconciliation": reconciled, "tables": compared})
    else:
        console.print(f"Reconciled {reconciled.rows:,} events on {reconciled.days:,} days ({reconciled.seconds:.2f} s)")
        table = Table("table", "rows", "missing", "unexpected")
        for found in compared:
            table.add_row(found.table, f"{found.rows:,}", f"{found.missing:,}", f"{found.unexpected:,}")
        console.print(table)
    require_agreement(reconciled)
    wrong = [found.table for found in compared if found.missing or found.unexpected]
    if wrong:
        raise ReconciliationFailed(
            ", ".join(wrong), "differ from what the landing zone gives", "Run 'penguinmails marts rebuild'."
        )


@marts.command()
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two rounds.")
@json_option
def follow(interval: float, as_json: bool) -> None:
    """Keep the published marts within seconds of the database until stopped (Ctrl-C or SIGTERM)."""
    import signal
    import threading

    from penguinmails.olap import following
    from penguinmails.stack.stores import resolve

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def report(done: following.Round) -> None:
        if done.published is None:
            return
        if as_json:
            print_json(done)
        else:
            console.print(
                f"Published number {done.published.number}: {done.rows_changed:,} rows were news, "
                f"complete up to {done.lag_seconds:.1f} s ago"
            )

    following.follow(resolve(), stop, interval_seconds=interval, report=report)


@marts.command("snapshots")
@json_option
def list_snapshots(as_json: bool) -> None:
    """Show which publications are kept to go back to or to ask ('penguinmails sql --publication NUMBER')."""
    from penguinmails.olap.snapshots import kept_snapshots
    from penguinmails.stack.stores import resolve

    kept = kept_snapshots(resolve())
    if as_json:
        print_json(kept)
        return
    table = Table("number", "published, UTC", "size", "readers")
    table.columns[2].justify = "right"
    for found in kept:
        now = "see this one" if found.is_newest else ""
        table.add_row(str(found.number), f"{found.published_at:%Y-%m-%d %H:%M:%S}", size(found.size_bytes), now)
    console.print(table)


@marts.command()
@click.argument("number", type=int)
@json_option
def rollback(number: int, as_json: bool) -> None:
    """Let readers have publication NUMBER again."""
    from penguinmails.olap.snapshots import roll_back
    from penguinmails.stack.stores import resolve

    path = roll_back(resolve(), number)
    if as_json:
        print_json({"number": number, "path": path})
    else:
        console.print(f"Readers see publication {number} again; the next publication goes on from the newest facts.")


@marts.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "duckdb"]),
    default="parquet",
    show_default=True,
    help="duckdb: one file with all marts and their comments, to be given away whole.",
)
@click.option("--mart", "names", multiple=True, help="Only this mart; may be given several times.")
@click.option("--tenant", type=click.UUID, help="Only this tenant's rows.")
@json_option
def export(folder: Path, form: str, names: tuple[str, ...], tenant: UUID | None, as_json: bool) -> None:
    """Write marts into FOLDER as files with a manifest."""
    from penguinmails.olap import snapshots
    from penguinmails.stack.stores import resolve

    files = snapshots.export(resolve(), folder, form=form, marts=names, tenant_id=tenant)
    if as_json:
        print_json(files)
    else:
        console.print(f"{len(files)} files, {sum(file.rows for file in files):,} rows written to {folder}")


@click.command()
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True
)
@json_option
def report(output: Path, as_json: bool) -> None:
    """Write one HTML file with charts: volume, deliverability, engagement, cost, retention."""
    from penguinmails.olap.report import write_report
    from penguinmails.stack.stores import resolve

    made = write_report(resolve(), output)
    if as_json:
        print_json({"path": output, "as_of": made.as_of})
    else:
        console.print(f"Report written to {output}")


marts.add_command(report)


@marts.command()
@click.option("--apply", "really", is_flag=True, help="Do it; without this it only says what would be removed.")
@json_option
def compact(really: bool, as_json: bool) -> None:
    """Make the landing zone one base batch and remove what it replaces."""
    from penguinmails.olap import compacting
    from penguinmails.stack.stores import resolve

    report = compacting.compact(resolve(), dry_run=not really)
    if as_json:
        print_json(report)
        return
    done = "Removed" if really else "Would remove"
    console.print(
        f"{done} {report.objects_removed:,} objects, {size(report.bytes_removed)}; base is batch {report.base}"
    )


@click.command()
@click.argument("statement")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Default: what the ending of --output says, otherwise a table on the screen.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write instead of the screen.")
@click.option("--rows", type=click.IntRange(min=1), default=100, show_default=True, help="Rows shown on the screen.")
@click.option("--publication", type=int, help="Ask a kept publication instead of the newest ('marts snapshots').")
@json_option
def sql(
    statement: str, form: str | None, output: Path | None, rows: int, publication: int | None, as_json: bool
) -> None:
    """Ask the published marts: penguinmails sql "SELECT * FROM campaign_analytics"; "-" reads the question from input."""
    from penguinmails.olap import answers
    from penguinmails.stack.stores import resolve

    form = "json" if as_json else answers.form_of(form, output)
    if statement == "-":
        statement = sys.stdin.read()
    with answers.ask(resolve(), statement, publication=publication) as answer:
        if form == "table":
            answers.show(answer, rows)
        else:
            written = answers.write(answer, form, output)
            if output is not None:
                notes.print(f"{written:,} rows written to {output}")
