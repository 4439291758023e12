"""The commands `penguinmails oltp …`.

Belongs here: reading arguments, showing results. Does not belong here: doing the work.
"""

from __future__ import annotations

import sys
from uuid import UUID

import click
from rich.table import Column, Table

from penguinmails.oltp.cli_contexts import contexts
from penguinmails.stack.console import console, json_option, print_json, progress, size
from penguinmails.stack.ports import port
from penguinmails.stack.stores import resolve


@click.group()
def oltp() -> None:
    """PostgreSQL tables of the platform: schema, mail that was taken in, partitions, who may open a session."""


oltp.add_command(contexts)


@oltp.command()
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL that builds everything; touch nothing.")
@json_option
def migrate(*, as_sql: bool, as_json: bool) -> None:
    """Bring the database to the present schema (does nothing when it is there)."""
    from penguinmails.oltp import schema
    from penguinmails.stack.migrations import sql_of_all

    if as_sql:
        click.echo(sql_of_all(schema.MIGRATIONS))
        return
    applied = schema.migrate(resolve())
    if as_json:
        print_json({"applied": applied})
    else:
        console.print(f"Applied: {', '.join(applied)}" if applied else "The schema is up to date.")


@oltp.command()
@click.argument("path", required=False)
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic mail that is loaded without a path.")
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    default=2_000,
    show_default=True,
    help="Roughly how many synthetic messages.",
)
@json_option
def load(*, path: str | None, seed: int, messages: int, as_json: bool) -> None:
    """Load mail from PATH (mbox, maildir, folder, tar, single message), or synthetic mail."""
    from penguinmails.oltp.intake import load_mail
    from penguinmails.oltp.mail_items import MailSource
    from penguinmails.oltp.mail_sources import open_mail
    from penguinmails.oltp.synthetic import synthetic_source

    source: MailSource = open_mail(path) if path else synthetic_source(seed=seed, messages=messages)
    with progress(visible=not as_json) as bar:
        task = bar.add_task(f"Loading {source.name}", total=None)
        report = load_mail(resolve(), source, progress=lambda done: bar.advance(task, done))
    if as_json:
        print_json(report)
        return
    console.print(
        f"Read {report.read:,} items ({size(report.size_bytes)}) in {report.seconds:.1f} s: {report.loaded:,} loaded, "
        f"{report.already_there:,} already there, {report.duplicates:,} duplicates, {report.set_aside:,} set aside."
    )
    for reason, count in sorted(report.reasons.items()):
        console.print(f"  set aside, {reason}: {count:,}")


@oltp.command()
@click.option(
    "--scale",
    default="demo",
    show_default=True,
    help="tiny, demo, medium, documented (1 M messages, 5 M events) or large.",
)
@click.option(
    "--number",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="The seed; another one gives other tenants.",
)
@json_option
def seed(*, scale: str, number: int, as_json: bool) -> None:
    """Fill the database with believable data (writes only what is missing)."""
    from penguinmails.oltp import seeding

    total = seeding.SCALES[scale].tenants if scale in seeding.SCALES else None
    with progress(visible=not as_json) as bar:
        task = bar.add_task(f"Seeding {scale}", total=total)
        report = seeding.seed(
            resolve(),
            scale=scale,
            number=number,
            progress=lambda done: bar.advance(task, done),
            settling=lambda name: bar.update(task, description=f"Settling {name}"),
        )
    if as_json:
        print_json(report)
        return
    table = Table("table", "rows", title=f"{report.tenants:,} tenants written, {report.already_there:,} were there")
    for name, count in report.rows.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    console.print(
        f"{sum(report.rows.values()):,} rows in {report.seconds:.1f} s ({report.rows_per_second:,.0f} a second)."
    )


@oltp.command()
@click.option("--source", "source_name", help="Only items of this source.")
@json_option
def messages(*, source_name: str | None, as_json: bool) -> None:
    """List loaded items: message id, storage key, item name, SHA-256 of the original."""
    from penguinmails.oltp.ledger import loaded_items

    items = loaded_items(resolve(), source_name=source_name)
    if as_json:
        print_json(list(items))
        return
    for item in items:
        click.echo(f"{item.message_id}  {item.storage_key or '-'}  {item.sha256}  {item.source_name}/{item.item_name}")


@oltp.command("set-aside")
@click.option("--source", "source_name", help="Only items of this source.")
@click.option("--get", "item_id", type=click.UUID, help="Write the original bytes of this item to standard output.")
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True, help="Show at most so many.")
@json_option
def set_aside(*, source_name: str | None, item_id: UUID | None, limit: int, as_json: bool) -> None:
    """List items that could not be loaded, with the reason; their bytes are kept."""
    from penguinmails.oltp.ledger import set_aside_bytes, set_aside_items

    if item_id is not None:
        sys.stdout.buffer.write(set_aside_bytes(resolve(), item_id))
        return
    items = set_aside_items(resolve(), source_name=source_name, limit=limit)
    if as_json:
        print_json(items)
        return
    table = Table("id", "source", "item", "reason", "size")
    for item in items:
        table.add_row(str(item.id), item.source_name, item.item_name, item.reason, size(item.raw_size_bytes))
    console.print(table if items else "Nothing was set aside.")


@oltp.command()
@json_option
def check(*, as_json: bool) -> None:
    """Compare the live database with the declarations; look at isolation and partitions."""
    from penguinmails.oltp.doctor import examine

    findings = examine(resolve())
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            console.print(f"{'ok ' if finding.ok else 'BAD'} {finding.name}: {finding.detail}. {finding.remedy}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@oltp.command()
@click.option("--make", is_flag=True, help="Make the months ahead that are missing.")
@json_option
def partitions(*, make: bool, as_json: bool) -> None:
    """Show the monthly partitions of the growing tables."""
    from penguinmails.oltp import partitions as months
    from penguinmails.oltp.connections import Role, connect
    from penguinmails.stack.clock import utc_now

    with connect(resolve().oltp_url, Role.OWNER) as connection:
        if make:
            months.ensure_partitions(connection, now=utc_now())
        found = months.partitions(connection)
    if as_json:
        print_json(found)
        return
    table = Table("table", "partition", "size")
    for partition in found:
        table.add_row(partition.table_name, partition.partition_name, size(partition.size_bytes))
    console.print(table)


@oltp.command()
@click.option("--apply", "carry_out", is_flag=True, help="Take the months out; without it nothing is changed.")
@click.option(
    "--extracted",
    metavar="SNAPSHOT",
    help="Snapshot up to which all rows have left for the marts. [default: that of the published marts]",
)
@json_option
def retention(*, carry_out: bool, extracted: str | None, as_json: bool) -> None:
    """Show months that are older than their policy and what keeps them; take them out with --apply."""
    from penguinmails.oltp import retention as policies
    from penguinmails.oltp.connections import connect
    from penguinmails.stack.clock import utc_now

    stores = resolve()
    extracted = extracted or port("extracted_snapshot")(stores)
    with connect(stores.oltp_url) as connection:
        work = policies.apply if carry_out else policies.plan
        steps = work(connection, now=utc_now(), extracted=extracted)
    if as_json:
        print_json({"applied": carry_out, "steps": steps})
        return
    table = Table("table", "month", "size", "kept because" if carry_out else "would be kept because")
    for step in steps:
        table.add_row(step.table, f"{step.month:%Y-%m}", size(step.size_bytes), step.blocked_by or "-")
    console.print(table if steps else "No month is older than its policy.")


@oltp.command()
@click.option(
    "--as-if-large", is_flag=True, help="Rule out reading whole tables, to see the plans of a large database."
)
@json_option
def explain(*, as_if_large: bool, as_json: bool) -> None:
    """Show how the application's statements are served as the busiest tenant: indexes, pages, rows thrown away."""
    from penguinmails.oltp.explaining import explain_all

    found = explain_all(resolve(), as_if_large=as_if_large)
    if as_json:
        print_json(found)
    else:
        table = Table(
            Column("statement", no_wrap=True), Column("indexes", overflow="fold"), "pages", "thrown away", "problems"
        )
        for one in found:
            problems = "; ".join(one.problems) or "-"
            table.add_row(one.statement, "\n".join(one.indexes), str(one.pages), str(one.discarded_rows), problems)
        console.print(table)
    if any(one.problems for one in found):
        sys.exit(1)
