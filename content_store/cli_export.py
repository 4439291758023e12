"""`penguinmails content export`.

Belongs here: arguments and printing of that command. Does not belong here: what is written (export.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import click

from penguinmails.content_store.cli_support import open_bodies, open_stores, progress_bar, tenant_option
from penguinmails.content_store.export import ExportReport, ExportScope, export_messages
from penguinmails.content_store.export_formats import Format
from penguinmails.stack.console import console, json_option, notes, print_json, size
from penguinmails.stack.errors import InputError


@click.command("export")
@tenant_option
@click.option("--campaign", "campaign_id", type=click.UUID, help="Only this campaign's messages.")
@click.option("--person", "address", help="Only messages from or to this address (a subject access request).")
@click.option(
    "--format", "form", type=click.Choice([str(form) for form in Format]), default=str(Format.EML), show_default=True
)
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help="File (mbox) or folder to write to.")
@json_option
def export_command(
    tenant_id: UUID, campaign_id: UUID | None, address: str | None, form: str, path: Path, as_json: bool
) -> None:
    """Write a tenant's, a campaign's or a person's mail as mbox, maildir or eml; killed, the same command goes on."""
    if campaign_id is not None and address is not None:
        raise InputError("--campaign and --person", "exclude one another", "Give one of them.")
    if address is not None and "@" not in address:
        raise InputError("--person", "is not an address", "Give it as name@domain.")
    stores = open_stores()
    scope = ExportScope(tenant_id, campaign_id, address)
    with progress_bar("Exporting", None, visible=not as_json) as tick:
        report = export_messages(stores, open_bodies(stores), scope, path, form=Format(form), progress=tick)
    print_export(report, path, as_json=as_json)


def print_export(report: ExportReport, path: Path, *, as_json: bool) -> None:
    """Says what was written, and ends the command."""
    if as_json:
        print_json(report)
    else:
        console.print(f"{report.messages:,} messages, {size(report.size_bytes)}, written to {path}")
        if report.gone:
            console.print(f"{report.gone:,} were deleted or erased.")
        if report.without_attachments:
            console.print(f"{report.without_attachments:,} lack attachments that were past their time.")
    for name in report.unreadable_keys:
        notes.print(f"could not be read: {name}", markup=False)
    if report.unreadable > len(report.unreadable_keys):
        notes.print(f"and {report.unreadable - len(report.unreadable_keys):,} more")
    sys.exit(4 if report.unreadable else 0)
