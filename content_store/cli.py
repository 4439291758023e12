"""`penguinmails content …`.

Belongs here: arguments, progress and printing. Does not belong here: what the commands do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
from rich.table import Table

from penguinmails.content_store import bucket_probe, checking, export, index, message_parts
from penguinmails.content_store.bucket import open_bucket
from penguinmails.content_store.cli_deletion import COMMANDS as DELETION
from penguinmails.content_store.cli_erasure import COMMANDS as ERASURE
from penguinmails.content_store.cli_export import export_command, print_export
from penguinmails.content_store.cli_support import execute_option, open_bodies, open_stores, progress_bar
from penguinmails.content_store.hand_over import hand_over
from penguinmails.content_store.orphans import MOST_SHARE, find_orphans
from penguinmails.content_store.ports import DEFAULT_GRACE
from penguinmails.content_store.reading import ContentReader, MessageRead
from penguinmails.content_store.statistics import content_statistics
from penguinmails.content_store.sweeping import sweep
from penguinmails.stack.clock import utc_now
from penguinmails.stack.console import console, json_option, notes, print_json, size
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_PARTS = ("eml", "text", "html", "headers", "attachment")


@click.group()
def content() -> None:
    """Message bodies and attachments in the object store."""


@content.command("hand-over")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only messages taken in on this UTC day.")
@click.option("--grace-hours", type=float, default=DEFAULT_GRACE.total_seconds() / 3600, show_default=True)
@json_option
def hand_over_command(day: datetime | None, grace_hours: float, as_json: bool) -> None:
    """Move waiting messages from the OLTP tier into the object store."""
    stores = open_stores()
    bodies = open_bodies(stores)
    bucket_probe.must_be_usable(open_bucket(stores))
    chosen = day.date() if day else None
    with progress_bar("Handing over", bodies.backlog(chosen).messages, visible=not as_json) as tick:
        report = hand_over(stores, bodies, clock=utc_now, day=chosen, grace=timedelta(hours=grace_hours), progress=tick)
    if as_json:
        print_json({**asdict(report), "ratio": report.ratio})
    else:
        ratio = f", {report.ratio:.2f} times smaller" if report.ratio else ""
        console.print(
            f"{report.messages:,} messages handed over in {report.seconds:.1f} s: {size(report.raw_bytes)} became "
            f"{size(report.stored_bytes)} in {report.packs:,} packs{ratio}."
        )
        console.print(f"{report.removed_from_oltp:,} bodies whose grace was over left the OLTP tier.")
    for problem in report.problems:
        notes.print(problem, markup=False)
    if report.refused:
        notes.print(f"{report.refused:,} messages stay where they are.")
        sys.exit(1)


@content.command()
@click.argument("storage_key", required=False)
@click.option("--message", "message_id", type=click.UUID, help="Name the message by its id.")
@click.option("--part", type=click.Choice(_PARTS), default="eml", show_default=True)
@click.option("--number", type=int, default=1, show_default=True, help="Which attachment.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File to write; else standard output."
)
@click.option("--all", "everything", is_flag=True, help="Every message, as .eml files into --to.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder for --all.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="With --all: only this tenant.")
@json_option
def get(
    storage_key: str | None,
    message_id: UUID | None,
    part: str,
    number: int,
    output: Path | None,
    everything: bool,
    folder: Path | None,
    tenant_id: UUID | None,
    as_json: bool,
) -> None:
    """Print or save one message or a part of it, or with --all save every message."""
    stores = open_stores()
    if everything:
        _get_all(stores, folder, tenant_id, as_json=as_json)
        return
    if (storage_key is None) == (message_id is None):
        raise InputError("message", "is not named once", "Give a storage key or --message ID.")
    with ContentReader(stores, bodies=open_bodies(stores)) as reader:
        if message_id is not None:
            storage_key = reader.storage_key_of(message_id)
        found = (
            reader.read_whole(storage_key) if storage_key else MessageRead(reader.read_message_id(_given(message_id)))
        )
    raw = found.raw
    if found.attachments_gone:
        notes.print(f"{found.attachments_gone:,} attachments were past their time; their places are empty.")
    chosen = _part(raw, part, number)
    if output is not None:
        try:
            output.write_bytes(chosen)
        except OSError as error:
            raise InputError(f"file {output}", f"cannot be written ({error.strerror})", "Name another one.") from error
    if as_json:
        print_json({"part": part, "size_bytes": len(chosen), "output": output, "message_size_bytes": len(raw)})
    elif output is not None:
        console.print(f"{size(len(chosen))} written to {output}")
    else:
        sys.stdout.buffer.write(chosen)


@content.command()
@json_option
def stats(as_json: bool) -> None:
    """Show what is held: messages, bytes before and after, packs, classes."""
    figures = content_statistics(open_stores())
    if as_json:
        print_json({**asdict(figures), "ratio": figures.ratio})
        return
    table = Table(title="Content tier")
    table.add_column("retention class")
    for heading in ("packs", "messages", "in the object store"):
        table.add_column(heading, justify="right")
    for row in figures.classes:
        table.add_row(row.retention_class, f"{row.packs:,}", f"{row.messages:,}", size(row.pack_bytes))
    console.print(table)
    ratio = f", {figures.ratio:.2f} times smaller" if figures.ratio else ""
    console.print(f"{figures.messages:,} messages: {size(figures.raw_bytes)} in {size(figures.pack_bytes)}{ratio}")
    if figures.broken_references:
        console.print(f"{figures.broken_references:,} broken references")


@content.command()
@click.option("--sample", type=int, default=200, show_default=True, help="Messages drawn at random to read.")
@json_option
def check(sample: int, as_json: bool) -> None:
    """Check references, packs, orphans and a sample of hashes."""
    stores = open_stores()
    with progress_bar("Checking", None, visible=not as_json) as tick:
        reports = [
            checking.check_references(stores, open_bodies(stores), progress=tick),
            checking.check_packs(stores, progress=tick),
            checking.check_orphans(stores, clock=utc_now),
            checking.check_expired(stores, clock=utc_now),
            checking.check_sample(stores, messages=sample, progress=tick),
        ]
    _print_checks(reports, as_json=as_json)


@content.command()
@click.option(
    "--within-days",
    type=click.IntRange(min=1),
    help="Only today's share: run every day, it reads every message within so many days.",
)
@json_option
def verify(within_days: int | None, as_json: bool) -> None:
    """Read packs whole, compare them with what was stored, and open every message in them."""
    stores = open_stores()
    with progress_bar("Verifying", content_statistics(stores).packs, visible=not as_json) as tick:
        reports = [checking.verify_packs(stores, clock=utc_now, within_days=within_days, progress=tick)]
    _print_checks(reports, as_json=as_json)


@content.command("sweep")
@json_option
def sweep_command(as_json: bool) -> None:
    """Remove the objects of packs that were given up or condemned."""
    report = sweep(open_stores(), clock=utc_now)
    if as_json:
        print_json(report)
    else:
        console.print(f"{report.packs_deleted:,} packs deleted, {report.packs_given_up:,} newly given up.")


@content.command("orphans")
@click.option(
    "--most-percent",
    type=click.FloatRange(0, 100),
    default=MOST_SHARE * 100,
    show_default=True,
    help="Of the bytes in the bucket that may go at once.",
)
@execute_option
@json_option
def orphans_command(most_percent: float, execute: bool, as_json: bool) -> None:
    """List the bucket and say what the index has no reason to keep; with --execute delete it, or refuse."""
    report = find_orphans(open_stores(), clock=utc_now, execute=execute, most_share=most_percent / 100)
    if as_json:
        print_json(report)
    else:
        console.print(
            f"{report.objects:,} objects, {size(report.size_bytes)}: {len(report.orphans):,} orphans "
            f"({size(report.orphan_bytes)}), {len(report.not_understood):,} that may hold lost mail, "
            f"{report.too_young:,} too young to tell; {report.deleted:,} deleted."
        )
        for name in (*report.orphans, *report.not_understood):
            console.print(f"      {name}", markup=False)
        if report.refused:
            notes.print(f"Nothing may be deleted: {report.refused}.", markup=False)
    sys.exit(1 if report.refused or report.deleted < len(report.orphans) else 0)


@content.command()
@json_option
def probe(as_json: bool) -> None:
    """Try on a scratch object what the object store really does."""
    report = bucket_probe.probe_bucket(open_bucket(open_stores()))
    if as_json:
        print_json({**asdict(report), "usable": report.usable})
    else:
        table = Table(title=f"Object store, bucket {report.bucket}")
        for heading in ("capability", "needed", "proven", "tried by"):
            table.add_column(heading)
        for item in report.capabilities:
            table.add_row(
                item.name, "yes" if item.needed else "no", "yes" if item.proven else "[red]no[/]", item.detail
            )
        console.print(table)
    sys.exit(0 if report.usable else 1)


@content.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the content database up to date."""
    applied = index.migrate(open_stores())
    if as_json:
        print_json({"applied": applied})
    else:
        console.print(f"Applied: {', '.join(applied)}" if applied else "Nothing to apply.")


for _command in (*DELETION, *ERASURE, export_command):
    content.add_command(_command)


def _get_all(stores: Stores, folder: Path | None, tenant_id: UUID | None, *, as_json: bool) -> None:
    if folder is None:
        raise InputError("--to", "is missing", "Name the folder that --all writes into.")
    with progress_bar("Reading", content_statistics(stores).messages, visible=not as_json) as tick:
        report = export.save_all(stores, folder, tenant_id=tenant_id, progress=tick)
    print_export(report, folder, as_json=as_json)


def _print_checks(reports: list[checking.CheckReport], *, as_json: bool) -> None:
    bad = [report for report in reports if not report.ok]
    if as_json:
        print_json({"ok": not bad, "checks": reports})
    else:
        for report in reports:
            mark = "[green]ok[/]" if report.ok else "[red]bad[/]"
            console.print(f"{mark}  {report.check}: {report.looked_at:,} looked at, {report.bad:,} bad")
            for example in report.examples:
                console.print(f"      {example}", markup=False)
            if not report.ok:
                console.print(f"      {report.remedy}", markup=False)
    sys.exit(4 if bad else 0)


def _part(raw: bytes, part: str, number: int) -> bytes:
    choices: dict[str, Callable[[], bytes]] = {
        "eml": lambda: raw,
        "headers": lambda: message_parts.headers(raw),
        "text": lambda: message_parts.body_text(raw, "plain").encode(),
        "html": lambda: message_parts.body_text(raw, "html").encode(),
        "attachment": lambda: message_parts.attachment(raw, number).content,
    }
    return choices[part]()


def _given(message_id: UUID | None) -> UUID:
    if message_id is None:
        raise InputError("message", "is not named", "Give a storage key or --message ID.")
    return message_id
