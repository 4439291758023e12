"""`penguinmails content …`: what deletes, keeps, erases, compacts, repairs and rotates keys.

Nothing destructive happens without `--execute`: without it each command says what it would do.

Belongs here: arguments and printing of those commands. Does not belong here: reading and storing (cli.py).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import click
from rich.table import Table

from penguinmails.content_store import erasure, holds, retention
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.compaction import compact, plan_compaction
from penguinmails.content_store.deletion import soft_delete, undelete
from penguinmails.content_store.key_rotation import rotate_key
from penguinmails.content_store.repair import repair_index
from penguinmails.content_store.storage_layout import ids_of
from penguinmails.stack.clock import utc_now
from penguinmails.stack.console import console, json_option, print_json, size
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import resolve

_execute = click.option("--execute", is_flag=True, help="Do it; without this, only say what would be done.")
_tenant = click.option("--tenant", "tenant_id", type=click.UUID, required=True)
_named = click.argument("storage_keys", nargs=-1)
_file = click.option(
    "--from",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of storage keys, one a line.",
)


@click.command("delete")
@_named
@_file
@_execute
@json_option
def delete_command(storage_keys: tuple[str, ...], listed: Path | None, execute: bool, as_json: bool) -> None:
    """Make messages unreadable; can be undone for 30 days."""
    _change("delete", _names(storage_keys, listed), execute=execute, as_json=as_json)


@click.command("undelete")
@_named
@_file
@json_option
def undelete_command(storage_keys: tuple[str, ...], listed: Path | None, as_json: bool) -> None:
    """Make deleted messages readable again."""
    _change("undelete", _names(storage_keys, listed), execute=True, as_json=as_json)


@click.group("hold")
def hold_group() -> None:
    """Legal holds: what is under one is not deleted for any reason."""


@hold_group.command("place")
@_tenant
@click.option("--matter", required=True, help="File number of the legal matter; no names.")
@click.option("--everything", is_flag=True, help="All the tenant has and will have.")
@_named
@_file
@json_option
def hold_place(
    tenant_id: UUID, matter: str, everything: bool, storage_keys: tuple[str, ...], listed: Path | None, as_json: bool
) -> None:
    """Hold messages, or with --everything a whole tenant."""
    names = None if everything else _names(storage_keys, listed)
    placed = holds.place_hold(resolve(), tenant_id, matter=matter, storage_keys=names, clock=utc_now)
    if as_json:
        print_json(placed)
    else:
        console.print(f"Hold {placed.hold_id}: " + ("everything" if everything else f"{placed.messages:,} messages"))
        for name in placed.not_there:
            console.print(f"not held, not there: {name}", markup=False)
    sys.exit(1 if placed.not_there else 0)


@hold_group.command("release")
@click.argument("hold_id", type=click.UUID)
@json_option
def hold_release(hold_id: UUID, as_json: bool) -> None:
    """End a hold and carry out the erasures it blocked."""
    stores = resolve()
    holds.release_hold(stores, hold_id, clock=utc_now)
    _print_erasures(erasure.run_erasures(stores, clock=utc_now), as_json=as_json)


@hold_group.command("list")
@json_option
def hold_list(as_json: bool) -> None:
    """List the holds."""
    found = holds.list_holds(resolve())
    if as_json:
        print_json(found)
        return
    table = Table("hold", "tenant", "matter", "covers", "placed", "released")
    for item in found:
        covers = "everything" if item.whole_tenant else f"{item.messages:,} messages"
        released = f"{item.released_at:%Y-%m-%d}" if item.released_at else ""
        table.add_row(
            str(item.hold_id), str(item.tenant_id), item.matter, covers, f"{item.placed_at:%Y-%m-%d}", released
        )
    console.print(table)


@click.group("retention")
def retention_group() -> None:
    """How long mail is kept."""


@retention_group.command("policy")
@_tenant
@click.option("--class", "retention_class", required=True)
@click.option("--days", type=int, required=True)
def retention_policy(tenant_id: UUID, retention_class: str, days: int) -> None:
    """Let a tenant keep a class of mail for so many days."""
    retention.set_policy(resolve(), tenant_id, retention_class, days, clock=utc_now)
    console.print(f"{retention_class} mail of {tenant_id} is kept for {days:,} days.")


@retention_group.command("plan")
@json_option
def retention_plan(as_json: bool) -> None:
    """Say what is past its time."""
    _print_plan(retention.plan_retention(resolve(), clock=utc_now), as_json=as_json)


@retention_group.command("apply")
@_execute
@click.option("--most", type=int, help="At most so many messages.")
@json_option
def retention_apply(execute: bool, most: int | None, as_json: bool) -> None:
    """Make unreadable what is past its time."""
    stores = resolve()
    if not execute:
        _print_plan(retention.plan_retention(stores, clock=utc_now), as_json=as_json)
        return
    done = retention.apply_retention(stores, clock=utc_now, most_messages=most)
    left = retention.plan_retention(stores, clock=utc_now).messages
    if as_json:
        print_json({**asdict(done), "still_due": left})
    else:
        console.print(f"{done.messages:,} messages ({size(done.raw_bytes)}) made unreadable, {left:,} still due.")


@click.command("erase")
@click.option(
    "--tenant", "tenant_id", type=click.UUID, help="Whose messages; alone with --everything: the whole tenant."
)
@click.option("--everything", is_flag=True, help="All the tenant has now.")
@click.option("--person", "address", help="The person's address: suppressed for ever. Name their messages as well.")
@_named
@_file
@_execute
@json_option
def erase_command(
    tenant_id: UUID | None,
    everything: bool,
    address: str | None,
    storage_keys: tuple[str, ...],
    listed: Path | None,
    execute: bool,
    as_json: bool,
) -> None:
    """Erase messages, a person's messages, or a tenant; without any of them, carry on with the open requests."""
    stores = resolve()
    names = None if everything else _names(storage_keys, listed)
    if everything and tenant_id is None:
        raise InputError("--everything", "names no tenant", "Give --tenant.")
    if names:
        owners = {ids_of(name)[0] for name in names}
        if len(owners) > 1 or (tenant_id is not None and owners != {tenant_id}):
            raise InputError("storage keys", "belong to another tenant", "Erase one tenant's messages at a time.")
        tenant_id = owners.pop()
    if not execute:
        what = "the whole tenant" if everything else f"{len(names or ()):,} messages"
        console.print(f"Would erase {what} for ever, and carry on with the open requests. Add --execute to do it.")
        return
    if tenant_id is not None and (everything or names):
        erasure.request_erasure(stores, tenant_id, storage_keys=names, address=address, clock=utc_now)
    _print_erasures(erasure.run_erasures(stores, clock=utc_now), as_json=as_json)


@click.command("certificates")
@json_option
def certificates_command(as_json: bool) -> None:
    """Check the chain of erasure certificates."""
    report = check_chain(resolve())
    if as_json:
        print_json(report)
    else:
        whole = "whole" if report.broken_at is None else f"broken at {report.broken_at}"
        console.print(f"{report.certificates:,} certificates, the chain is {whole}; newest hash {report.newest_hash}")
    sys.exit(0 if report.broken_at is None else 4)


@click.command("compact")
@click.option("--erased-now", is_flag=True, help="Take packs with bytes of erased messages at once, not after a week.")
@_execute
@json_option
def compact_command(erased_now: bool, execute: bool, as_json: bool) -> None:
    """Rewrite packs with many dead bytes, erased messages, or many small siblings."""
    stores = resolve()
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
@_execute
@json_option
def repair_command(execute: bool, as_json: bool) -> None:
    """Bring a restored index up to the packs: locations, sizes, dictionaries. Keys come from the backup alone."""
    report = repair_index(resolve(), clock=utc_now, execute=execute)
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
@_tenant
@click.option("--resume", is_flag=True, help="Carry on a rotation that was stopped.")
@json_option
def rotate_command(tenant_id: UUID, resume: bool, as_json: bool) -> None:
    """Give a tenant a new key and wrap every message's key with it; no pack is touched."""
    report = rotate_key(resolve(), tenant_id, clock=utc_now, resume=resume)
    if as_json:
        print_json(report)
    else:
        console.print(f"{report.messages:,} messages are under generation {report.generation}. Keep the older ones.")


COMMANDS: tuple[click.Command, ...] = (
    delete_command,
    undelete_command,
    hold_group,
    retention_group,
    erase_command,
    certificates_command,
    compact_command,
    repair_command,
    rotate_command,
)


def _names(storage_keys: tuple[str, ...], listed: Path | None) -> list[str]:
    lines = listed.read_text(encoding="utf-8").split() if listed else []
    return list(dict.fromkeys([*storage_keys, *lines]))


def _change(what: str, names: list[str], *, execute: bool, as_json: bool) -> None:
    if not names:
        raise InputError("storage keys", "are missing", "Name them, or a file of them with --from.")
    if not execute:
        console.print(f"Would {what} {len(names):,} messages. Add --execute to do it.")
        return
    stores, changed = resolve(), list[str]()
    for tenant_id in sorted({ids_of(name)[0] for name in names}):
        own = [name for name in names if ids_of(name)[0] == tenant_id]
        work = soft_delete if what == "delete" else undelete
        changed += work(stores, tenant_id, own, clock=utc_now)
    if as_json:
        print_json({"changed": changed, "left_alone": sorted(set(names) - set(changed))})
    else:
        console.print(f"{len(changed):,} of {len(names):,} messages {what}d; the others are held, gone or unknown.")


def _print_plan(plan: retention.RetentionPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(plan), "messages": plan.messages})
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
    console.print(table)
    console.print(f"{plan.messages:,} messages would become unreadable.")


def _print_erasures(states: list[erasure.ErasureState], *, as_json: bool) -> None:
    if as_json:
        print_json(states)
        return
    for state in states:
        blocked = f", {state.blocked:,} kept by a legal hold" if state.blocked else ""
        stands = "bytes gone" if state.gone else "unreadable" if state.effective else "under way"
        console.print(f"{state.request_id}  {state.scope}: {state.messages:,} messages, {stands}{blocked}")
