"""The commands `penguinmails oltp contexts …`.

Belongs here: reading arguments, showing results. Does not belong here: doing the work (contexts.py, context_seals.py).
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import click
from rich.table import Table

from penguinmails.stack.console import console, json_option, notes, print_json
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.stores import resolve

if TYPE_CHECKING:
    from penguinmails.oltp.contexts import Changed, Order

_A_DAY = 86_400
_GIVEN_UP = (
    "Whoever holds the application's login will be able to read and write every tenant's rows again, by naming a tenant. "
    "Open the contexts?"
)


@click.group()
def contexts() -> None:
    """Whether the database believes the tenant that a session names (open), or only with a proof (sealed)."""


def _who_and_why(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        json_option,
        click.option("--actor", default=getpass.getuser, help="Who wants it (default: you)."),
        click.option("--reason", default="", help="Why; kept with the change."),
    ):
        command = option(command)
    return command


@contexts.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show what the database believes, the keys it accepts, and whether this machine's key is one. Exit 1 when it is none."""
    from penguinmails.oltp import contexts as tier

    found = tier.status(resolve())
    if as_json:
        print_json(found)
    else:
        console.print(f"Contexts are {found.state or 'neither open nor sealed: their functions were changed'}.")
        keys = Table("accepted key", "since (UTC)", "until (UTC)")
        for key in found.keys:
            until = f"{key.accepted_until:%Y-%m-%d %H:%M:%S}" if key.accepted_until else "it is replaced"
            keys.add_row(key.key_id, f"{key.created:%Y-%m-%d %H:%M:%S}", until)
        if found.keys:
            console.print(keys)
        verdict = "what it signs is believed" if found.own_seal_is_believed else "what it signs is not believed"
        console.print(f"Key of this machine: {f'{found.own_key_id}, {verdict}' if found.own_key_id else 'none'}.")
        for change in found.changes:
            why = f": {change.reason}" if change.reason else ""
            console.print(f"  {change.changed:%Y-%m-%d %H:%M} {change.action} by {change.actor}{why}", markup=False)
    if found.state is None or (found.own_key_id and not found.own_seal_is_believed):
        sys.exit(1)


@contexts.command()
@_who_and_why
@click.option(
    "--wait-seconds",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Wait so long for transactions that began before.",
)
def seal(*, actor: str, reason: str, wait_seconds: int, as_json: bool) -> None:
    """Believe signed contexts only. Give every program the key first: PENGUINMAILS_CONTEXT_KEY, or the key file."""
    from penguinmails.oltp import contexts as tier

    done = tier.seal(resolve(), _order(actor, reason), wait=timedelta(seconds=wait_seconds))
    _show(done, as_json=as_json, text="are sealed" if done.changed else "were sealed already")


@contexts.command()
@_who_and_why
@click.option(
    "--keep-old-seconds",
    type=click.IntRange(min=0),
    default=3_600,
    show_default=True,
    help="Accept what older keys sign for so long; 0 when one was stolen.",
)
def rotate(*, actor: str, reason: str, keep_old_seconds: int, as_json: bool) -> None:
    """Accept another key: the one in PENGUINMAILS_CONTEXT_KEY, or else a new key file."""
    from penguinmails.oltp import contexts as tier

    done = tier.rotate(resolve(), _order(actor, reason), keep_old=timedelta(seconds=keep_old_seconds))
    unchanged = "have this key already: to change it, set PENGUINMAILS_CONTEXT_KEY to a new one"
    _show(done, as_json=as_json, text="have a new key" if done.changed else unchanged)


@contexts.command("open")
@_who_and_why
@click.option("--yes", is_flag=True, help="Do not ask.")
def open_(*, actor: str, reason: str, yes: bool, as_json: bool) -> None:
    """Believe every context again, as an SDK needs that sets the plain settings."""
    from penguinmails.oltp import contexts as tier

    if not yes:
        click.confirm(_GIVEN_UP, abort=True, err=True)
    done = tier.open_(resolve(), _order(actor, reason))
    _show(done, as_json=as_json, text="are open" if done.changed else "were open already")


@contexts.command()
@click.option(
    "--tenant", "tenant_id", type=click.UUID, help="The tenant to be; none to be a user who has not chosen one."
)
@click.option("--user", "user_id", type=click.UUID, help="The user to be; none for a job of the tenant.")
@click.option(
    "--valid-seconds",
    type=click.IntRange(1, _A_DAY),
    default=900,
    show_default=True,
    help="How long transactions may begin with it.",
)
@json_option
def sign(*, tenant_id: UUID | None, user_id: UUID | None, valid_seconds: int, as_json: bool) -> None:
    """Print the statements that make a session of psql this tenant's. Whoever sees them can be it until they expire."""
    from penguinmails.oltp.context_seals import KEY_SETTING, Signer, key_file, key_of

    if tenant_id is None and user_id is None:
        raise click.UsageError("Give --tenant, --user or both.")
    stores = resolve()
    key = key_of(stores)
    if key is None:
        raise SettingsError(
            KEY_SETTING, f"is not set, and there is no {key_file(stores)}", "Set the application's key."
        )
    tenant, user = str(tenant_id or ""), str(user_id or "")
    context = {
        "app.current_tenant_id": tenant,
        "app.current_user_id": user,
        "app.context_seal": Signer(key, validity=timedelta(seconds=valid_seconds)).seal(tenant, user),
    }
    if as_json:
        print_json(context)
        return
    for name, value in context.items():
        click.echo(f"SET {name} = '{value}';")


def _order(actor: str, reason: str) -> Order:
    from penguinmails.oltp.contexts import Order

    return Order(actor, reason)


def _show(done: Changed, *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(done)
        return
    console.print(f"The contexts {text}{f' (present key {done.key_id})' if done.key_id else ''}.")
    if done.older_transactions:
        pids = ", ".join(map(str, done.older_transactions))
        notes.print(f"Transactions that began before still believe as they did. End them or wait: processes {pids}.")
