"""The commands that join the tiers: `penguinmails run`, `penguinmails erase` and `penguinmails ui`.

Belongs here: options, progress on the terminal, exit codes. Does not belong here: what a run does (running.py), what it
prints (summary.py). Dagster is imported only once a command really starts: its import takes longer than most commands.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from uuid import UUID

import click

from penguinmails.stack.clock import utc_now
from penguinmails.stack.console import console, json_option, notes, print_json, progress
from penguinmails.stack.errors import InputError
from penguinmails.stack.settings import CHECKOUT
from penguinmails.stack.stores import resolve

_FIRST_PORT = 3000
_PORTS_TRIED = 100


@click.command()
@click.option(
    "--mail",
    type=click.Path(path_type=Path),
    help="Real mail: an mbox file, a maildir, a folder or tar(.gz) of RFC 822 files, or one .eml. "
    "Without it, a synthetic set that the project makes itself.",
)
@click.option(
    "--messages", type=click.IntRange(min=1), default=2_000, show_default=True, help="Size of the synthetic set."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the synthetic set.")
@click.option(
    "--grace-hours",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How long bodies stay in PostgreSQL after they were stored and read back. Schedules keep them 24 hours.",
)
@json_option
def run(mail: Path | None, messages: int, seed: int, grace_hours: float, as_json: bool) -> None:
    """Do the whole path once: load mail, hand bodies over, roll up, publish, probe the queue, and show what came of it.

    Running it again takes only what is new. It can be killed at any point and started again, and two may run at once.
    """
    if mail is not None and not mail.exists():
        raise InputError(
            f"--mail {mail}", "does not exist", "Give an mbox, a maildir, a folder, a tar or an .eml file."
        )
    with notes.status("Starting the servers ..."):
        stores = resolve()
    with notes.status("Loading Dagster ..."):
        from penguinmails.pipelines.running import run_everything
        from penguinmails.pipelines.summary import print_summary
    chosen = {"path": str(mail.resolve())} if mail else {"messages": messages, "seed": seed}
    with progress(visible=not as_json) as bars:
        outcome = run_everything(stores, mail=chosen, grace_hours=grace_hours, bars=bars)
    if as_json:
        print_json(outcome)
    else:
        print_summary(console, stores, outcome)
    if not outcome.succeeded:
        sys.exit(1)


@click.command()
@click.option("--tenant", "tenant_id", type=click.UUID, required=True, help="Whose correspondent the person was.")
@click.option("--person", "address", required=True, help="The person's address.")
@click.option("--execute", is_flag=True, help="Erase; without it nothing is changed and the plan is shown.")
@json_option
def erase(tenant_id: UUID, address: str, execute: bool, as_json: bool) -> None:
    """Erase a person from every tier: messages, names, address. Sums stay. It can be killed and run again."""
    from penguinmails.pipelines.erasing import erase_person, plan_person

    stores = resolve()
    if not execute:
        plan = plan_person(stores, tenant_id, address)
        if as_json:
            print_json({"executed": False, "plan": plan})
        else:
            console.print(
                f"Would erase {plan.content.stored:,} stored messages ({plan.content.held:,} held) and "
                f"{plan.content.waiting:,} bodies in PostgreSQL, and forget the person in {plan.rows.messages:,} messages, "
                f"{plan.rows.leads:,} leads and {plan.rows.set_aside:,} items set aside. Add --execute to do it."
            )
        return
    erased = erase_person(stores, tenant_id, address, clock=utc_now)
    if as_json:
        print_json({"executed": True, "finished": erased.finished, "erasure": erased})
    elif erased.rows is None and erased.content is not None:
        console.print(
            f"A legal hold keeps {erased.content.blocked:,} messages; the rest is unreadable. "
            "Run this again after 'penguinmails content hold release'."
        )
    elif erased.rows is not None:
        count = erased.content.messages if erased.content else 0
        console.print(
            f"Erased {count:,} messages; the person is forgotten in {erased.rows.messages:,} rows of messages."
        )
    if not erased.finished:
        sys.exit(4)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port on the loopback interface; by default a free one.")
@json_option
def ui(port: int | None, as_json: bool) -> None:
    """Open Dagster's UI, with its daemon, until Ctrl-C."""
    stores = resolve()
    from penguinmails.pipelines.instance import open_instance, prepare

    port = port or _free_port()
    with open_instance(stores):
        pass  # makes Dagster's tables, whole or not at all
    environment = os.environ | prepare(stores) | {"PYTHONWARNINGS": "ignore:Function `dev_command` is superseded"}
    url = f"http://127.0.0.1:{port}"
    if as_json:
        print_json({"url": url, "home": stores.home})
        sys.stdout.flush()  # this process becomes Dagster's
    else:
        console.print(f"Dagster's UI: {url}  (Ctrl-C ends it; the servers stay: penguinmails down)")
    dagster = Path(sys.executable).with_name("dagster")
    workspace = CHECKOUT / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.exists() else ["-m", "penguinmails.pipelines.definitions"]
    arguments = ["dev", *location, "-h", "127.0.0.1", "-p", str(port)]
    # A script has what it starts in the background ignore Ctrl-C, and Dagster does on SIGTERM what it does then: nothing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(environment["DAGSTER_HOME"])  # elsewhere Dagster warns of a dagster.yaml that it does not use
    os.execve(dagster, [str(dagster), *arguments], environment)  # noqa: S606 - Ctrl-C must reach it directly


def _free_port() -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise InputError("--port", f"none of {_FIRST_PORT} to {_FIRST_PORT + _PORTS_TRIED} is free", "Name a free one.")
