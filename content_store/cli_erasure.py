"""`penguinmails content hold|erase|certificates`.

Belongs here: arguments and printing of those commands. Does not belong here: other deletion (cli_deletion.py).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import click
from rich.table import Table

from penguinmails.content_store import erasure, holds
from penguinmails.content_store.certificates import check_chain
from penguinmails.content_store.cli_support import (
    all_names,
    execute_option,
    file_option,
    names_argument,
    open_bodies,
    open_stores,
    tenant_option,
)
from penguinmails.content_store.deletion import DeletionPlan
from penguinmails.content_store.ports import MessageBodies
from penguinmails.content_store.storage_layout import ids_of
from penguinmails.stack.clock import utc_now
from penguinmails.stack.console import console, json_option, print_json
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores


@click.group("hold")
def hold_group() -> None:
    """Legal holds: what is under one is not deleted for any reason."""


@hold_group.command("place")
@tenant_option
@click.option("--matter", required=True, help="File number of the legal matter; no names.")
@click.option("--everything", is_flag=True, help="All the tenant has and will have.")
@names_argument
@file_option
@json_option
def hold_place(
    tenant_id: UUID, matter: str, everything: bool, storage_keys: tuple[str, ...], listed: Path | None, as_json: bool
) -> None:
    """Hold messages, or with --everything a whole tenant."""
    names = None if everything else all_names(storage_keys, listed)
    stores = open_stores()
    placed = holds.place_hold(stores, open_bodies(stores), tenant_id, matter=matter, storage_keys=names, clock=utc_now)
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
    stores = open_stores()
    holds.release_hold(stores, hold_id, clock=utc_now)
    _print_erasures(erasure.run_erasures(stores, open_bodies(stores), clock=utc_now), as_json=as_json)


@hold_group.command("list")
@json_option
def hold_list(as_json: bool) -> None:
    """List the holds."""
    found = holds.list_holds(open_stores())
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


@click.command("erase")
@click.option(
    "--tenant", "tenant_id", type=click.UUID, help="Whose messages; alone with --everything: the whole tenant."
)
@click.option("--everything", is_flag=True, help="All the tenant has now, stored or waiting.")
@click.option(
    "--person", "address", help="Every message the tenant exchanged with this address, which is suppressed for ever."
)
@names_argument
@file_option
@execute_option
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
    stores = open_stores()
    bodies = open_bodies(stores)
    names = all_names(storage_keys, listed)
    tenant_id = _tenant_of(names, tenant_id)
    if everything and (names or address):
        raise InputError("--everything", "leaves nothing else to name", "Give --tenant and --everything alone.")
    if (everything or address) and tenant_id is None:
        raise InputError("--tenant", "is missing", "Say whose messages to erase.")
    if address and tenant_id:
        names = list(dict.fromkeys([*names, *erasure.messages_with(bodies, tenant_id, address)]))
    if not execute:
        _print_plan(stores, bodies, tenant_id, None if everything else names, as_json=as_json)
        return
    if tenant_id is not None and (everything or address or names):
        chosen = None if everything else names
        erasure.request_erasure(stores, tenant_id, storage_keys=chosen, address=address, clock=utc_now)
    _print_erasures(erasure.run_erasures(stores, bodies, clock=utc_now), as_json=as_json)


@click.command("certificates")
@json_option
def certificates_command(as_json: bool) -> None:
    """Check the chain of erasure certificates."""
    report = check_chain(open_stores())
    if as_json:
        print_json(report)
    else:
        whole = "whole" if report.broken_at is None else f"broken at {report.broken_at}"
        console.print(f"{report.certificates:,} certificates, the chain is {whole}; newest hash {report.newest_hash}")
    sys.exit(0 if report.broken_at is None else 4)


COMMANDS: tuple[click.Command, ...] = (hold_group, erase_command, certificates_command)


def _tenant_of(names: list[str], tenant_id: UUID | None) -> UUID | None:
    owners = {ids_of(name)[0] for name in names} | ({tenant_id} if tenant_id else set())
    if len(owners) > 1:
        raise InputError("storage keys", "belong to another tenant", "Erase one tenant's messages at a time.")
    return next(iter(owners), None)


def _print_plan(
    stores: Stores, bodies: MessageBodies, tenant_id: UUID | None, names: list[str] | None, *, as_json: bool
) -> None:
    plan = erasure.plan_erasure(stores, bodies, tenant_id, names) if tenant_id else DeletionPlan(0, 0, 0)
    if as_json:
        print_json({"executed": False, **asdict(plan)})
        return
    console.print(
        f"Would erase for ever: {plan.stored:,} stored messages ({plan.held:,} stay under a legal hold) and "
        f"{plan.waiting:,} bodies in the OLTP tier; and carry on with the open requests. Add --execute to do it."
    )


def _print_erasures(states: list[erasure.ErasureState], *, as_json: bool) -> None:
    if as_json:
        print_json(states)
        return
    for state in states:
        blocked = f", {state.blocked:,} kept by a legal hold" if state.blocked else ""
        stands = "bytes gone" if state.gone else "unreadable" if state.effective else "under way"
        console.print(f"{state.request_id}  {state.scope}: {state.messages:,} messages, {stands}{blocked}")
