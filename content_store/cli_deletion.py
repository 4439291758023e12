"""`penguinmails content …`: what deletes, ages out, compacts, repairs and rotates keys.

Nothing destructive happens without `--execute`: without it each command says what it would do.

Belongs here: arguments and printing of those commands. Does not belong here: reading and storing (cli.py), holds and
erasure (cli_erasure.py).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import click
from rich.table import Table

from penguinmails.content_store import retention
from penguinmails.content_store.cli_support import (
    all_names,
    execute_option,
    file_option,
    names_argument,
    open_stores,
    tenant_option,
)
from penguinmails.content_store.compaction import compact, plan_compaction
from penguinmails.content_store.deletion import plan_deletion, soft_delete, undelete
from penguinmails.content_store.key_rotation import rotate_key
from penguinmails.content_store.repair import repair_index
from penguinmails.content_store.storage_layout import ids_of
from penguinmails.stack.clock import utc_now
from penguinmails.stack.console import console, json_option, print_json, size
from penguinmails.stack.errors import InputError


@click.command("delete")
@names_argument
@file_option
@execute_option
@json_option
def delete_command(storage_keys: tuple[str, ...], listed: Path | None, execute: bool, as_json: bool) -> None:
    """Make messages unreadable; can be undone for 30 days."""
    _change("delete", all_names(storage_keys, listed), execute=execute, as_json=as_json)


@click.command("undelete")
@names_argument
@file_option
@json_option
def undelete_command(storage_keys: tuple[str, ...], listed: Path | None, as_json: bool) -> None:
    """Make deleted messages readable again."""
    _change("undelete", all_names(storage_keys, listed), execute=True, as_json=as_json)


@click.group("retention")
def retention_group() -> None:
    """How long mail is kept."""


@retention_group.command("policy")
@tenant_option
@click.option("--class", "retention_class", required=True)
@click.option("--days", type=int, required=True)
@click.option("--attachment-days", type=int, help="Large attachments only so long; else as long as their messages.")
@json_option
def retention_policy(
    tenant_id: UUID, retention_class: str, days: int, attachment_days: int | None, as_json: bool
) -> None:
    """Let a tenant keep a class of mail, and its large attachments, for so many days."""
    retention.set_policy(
        open_stores(), tenant_id, retention_class, days, attachment_keep_days=attachment_days, clock=utc_now
    )
    if as_json:
        print_json(
            {
                "tenant_id": tenant_id,
                "retention_class": retention_class,
                "keep_days": days,
                "attachment_keep_days": attachment_days,
            }
        )
    else:
        apart = f", its large attachments for {attachment_days:,}" if attachment_days else ""
        console.print(f"{retention_class} mail of {tenant_id} is kept for {days:,} days{apart}.")


@retention_group.command("label")
@tenant_option
@click.argument("label")
@click.option("--days", type=int, help="Make the label, or change for how many days it keeps its messages.")
@click.option("--remove", is_flag=True, help="Take the label away from the messages named.")
@click.option("--from", "listed", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File of keys.")
@names_argument
@json_option
def retention_label(
    tenant_id: UUID,
    label: str,
    days: int | None,
    remove: bool,
    listed: Path | None,
    storage_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a label with a time of its own, and put it on messages; it is stronger than the policy of their class."""
    stores, names = open_stores(), all_names(storage_keys, listed)
    if days is None and not names:
        raise InputError("label", "has neither --days nor messages", "Give --days, or storage keys to put it on.")
    if days is not None:
        retention.set_label(stores, tenant_id, label, days, clock=utc_now)
    labelled = retention.label_messages(stores, tenant_id, None if remove else label, names) if names else []
    if as_json:
        print_json({"label": label, "keep_days": days, "messages": labelled})
    else:
        console.print(f"{len(labelled):,} of {len(names):,} messages " + ("lost" if remove else "have") + " the label.")


@retention_group.command("labels")
@json_option
def retention_labels(as_json: bool) -> None:
    """List the labels."""
    found = retention.labels(open_stores())
    if as_json:
        print_json(found)
        return
    table = Table("tenant", "label", "days", "messages", "since")
    for item in found:
        table.add_row(
            str(item.tenant_id), item.label, f"{item.keep_days:,}", f"{item.messages:,}", f"{item.changed_at:%Y-%m-%d}"
        )
    console.print(table)


@retention_group.command("policies")
@json_option
def retention_policies(as_json: bool) -> None:
    """List where mail is kept for another time than the default."""
    found = retention.policies(open_stores())
    if as_json:
        print_json(found)
        return
    table = Table("tenant", "class", "days", "attachments", "since")
    for item in found:
        apart = f"{item.attachment_keep_days:,}" if item.attachment_keep_days else ""
        table.add_row(
            str(item.tenant_id), item.retention_class, f"{item.keep_days:,}", apart, f"{item.changed_at:%Y-%m-%d}"
        )
    console.print(table)


@retention_group.command("plan")
@json_option
def retention_plan(as_json: bool) -> None:
    """Say what is past its time."""
    _print_plan(retention.plan_retention(open_stores(), clock=utc_now), as_json=as_json)


@retention_group.command("apply")
@execute_option
@click.option("--most", type=click.IntRange(min=1), help="At most so many messages.")
@json_option
def retention_apply(execute: bool, most: int | None, as_json: bool) -> None:
    """Make unreadable what is past its time."""
    stores = open_stores()
    if not execute:
        _print_plan(retention.plan_retention(stores, clock=utc_now), as_json=as_json)
        return
    done = retention.apply_retention(stores, clock=utc_now, most_messages=most)
    plan = retention.plan_retention(stores, clock=utc_now)
    left = plan.messages + plan.attachments
    if as_json:
        print_json({**asdict(done), "still_due": left})
    else:
        console.print(
            f"{done.messages:,} messages ({size(done.raw_bytes)}) and {done.attachments:,} attachments made unreadable, "
            f"{left:,} still due."
        )


@click.command("compact")
@click.option("--erased-now", is_flag=True, help="Take packs with bytes of erased messages at once, not after a week.")
@execute_option
@json_option
def compact_command(erased_now: bool, execute: bool, as_json: bool) -> None:
    """Rewrite packs with many dead bytes, erased messages, or many small siblings."""
    stores = open_stores()
    if not execute:
        plan = plan_compaction(stores, clock=utc_now, everything_erased=erased_now)
        if as_json:
            print_json([asdict(item) | {"sha256": item.sha256.hex()} for item in plan])
        for item in [] if as_json else plan:
            console.print(f"{item.reason}: {item.object_key}, {size(item.dead_bytes)} of {size(item.size_bytes)} dead")
        return
    report = compact(stores, clock=utc_now, everything_erased=erased_now)
    if as_json:
        print_json(report)
    else:
        console.print(
            f"{report.packs_rewritten:,} packs became {report.packs_written:,}: {report.messages_moved:,} messages moved, "
            f"{size(report.bytes_freed)} freed after the next sweep."
        )
        for reason in report.refused:
            console.print(f"refused: {reason}", markup=False)
    sys.exit(4 if report.refused else 0)


@click.command("repair-index")
@execute_option
@json_option
def repair_command(execute: bool, as_json: bool) -> None:
    """Bring a restored index up to the packs: locations, sizes, dictionaries. Keys come from the backup alone."""
    report = repair_index(open_stores(), clock=utc_now, execute=execute)
    if as_json:
        print_json(report)
    else:
        done = "mended" if execute else "to mend (add --execute)"
        console.print(
            f"{report.packs_looked_at:,} packs looked at; {done}: {report.packs_added:,} packs, "
            f"{report.messages_found_again:,} messages, {report.dictionaries_added:,} dictionaries. "
            f"{report.messages_without_key:,} messages have no key in this index."
        )
    sys.exit(4 if report.unreadable else 0)


@click.command("rotate-key")
@tenant_option
@click.option("--resume", is_flag=True, help="Carry on a rotation that was stopped.")
@json_option
def rotate_command(tenant_id: UUID, resume: bool, as_json: bool) -> None:
    """Give a tenant a new key and wrap every message's key with it; no pack is touched."""
    report = rotate_key(open_stores(), tenant_id, clock=utc_now, resume=resume)
    if as_json:
        print_json(report)
    else:
        console.print(f"{report.messages:,} messages are under generation {report.generation}. Keep the older ones.")


COMMANDS: tuple[click.Command, ...] = (
    delete_command,
    undelete_command,
    retention_group,
    compact_command,
    repair_command,
    rotate_command,
)


def _change(what: str, names: list[str], *, execute: bool, as_json: bool) -> None:
    if not names:
        raise InputError("storage keys", "are missing", "Name them, or a file of them with --from.")
    stores, changed, plans = open_stores(), list[str](), []
    for tenant_id in sorted({ids_of(name)[0] for name in names}):
        own = [name for name in names if ids_of(name)[0] == tenant_id]
        if execute:
            work = soft_delete if what == "delete" else undelete
            changed += work(stores, tenant_id, own, clock=utc_now)
        else:
            plans.append(plan_deletion(stores, tenant_id, own))
    if not execute:
        stored, held = sum(plan.stored for plan in plans), sum(plan.held for plan in plans)
        if as_json:
            print_json({"executed": False, "named": len(names), "stored": stored, "held": held})
        else:
            console.print(f"Would {what} {stored - held:,} of {len(names):,} messages. Add --execute to do it.")
        return
    if as_json:
        print_json({"changed": changed, "left_alone": sorted(set(names) - set(changed))})
    else:
        console.print(f"{len(changed):,} of {len(names):,} messages {what}d; the others are held, gone or unknown.")


def _print_plan(plan: retention.RetentionPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(plan), "messages": plan.messages, "attachments": plan.attachments})
        return
    table = Table("tenant", "class", "month", "messages", "bytes", "held", title="Past their time")
    for item in plan.months:
        table.add_row(
            str(item.tenant_id),
            item.retention_class,
            f"{item.ingest_month:%Y-%m}",
            f"{item.messages:,}",
            size(item.stored_bytes),
            f"{item.held:,}",
        )
    for purge in plan.purges:
        table.add_row(
            str(purge.tenant_id), "(deleted)", "", f"{purge.messages:,}", size(purge.stored_bytes), f"{purge.held:,}"
        )
    for due in plan.expired_attachments:
        table.add_row(
            str(due.tenant_id),
            f"{due.retention_class}, attachments",
            f"{due.ingest_month:%Y-%m}",
            f"{due.attachments:,}",
            size(due.stored_bytes),
            f"{due.held:,}",
        )
    console.print(table)
    console.print(f"{plan.messages:,} messages and {plan.attachments:,} attachments would become unreadable.")
