"""The `penguinmails` command.

Belongs here: the commands about the machine (up, down, status, doctor) and finding the groups that tiers contribute.
Does not belong here: a tier's own commands; they live in `<tier>/cli.py` and are named in pyproject.toml.

Exit codes: 0 all well; 1 something is wrong and said; 2 wrong input; 3 a server cannot be had; 4 stored data is damaged.
"""

from __future__ import annotations

import sys

import click
from penguinmails.stack.console import console, json_option, notes, print_json
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.ports import contributions


class PlatformCommands(click.Group):
    """Adds the command groups of the tiers, each loaded only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *contributions("penguinmails.commands")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = contributions("penguinmails.commands").get(cmd_name)
        if entry is None:
            return None
        command: click.Command = entry.load()
        return command


@click.group(cls=PlatformCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="penguinmails")
def penguinmails() -> None:
    """The data platform of PenguinMails: four storage tiers and the pipelines that join them."""


def main() -> None:
    """Runs the command; an error that people can act on becomes one readable message and an exit code."""
    try:
        penguinmails(standalone_mode=False)
    except click.exceptions.Abort:
        notes.print("Stopped.")
        sys.exit(130)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PlatformError as error:
        notes.print(f"[bold red]{type(error).__name__}[/]  ", end="")
        notes.print(f"{error.thing}: {error.problem}.", markup=False)
        notes.print(f"What to do: {error.remedy}", markup=False)
        sys.exit(error.exit_code)


@penguinmails.command()
@json_option
def up(as_json: bool) -> None:
    """Start the embedded servers (those that the settings leave to us)."""
    from penguinmails.stack.stores import resolve

    stores = resolve()
    if as_json:
        print_json({"home": stores.home})
    else:
        console.print(f"The servers run; their data is in {stores.home}")


@penguinmails.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the embedded servers; their data stays."""
    from penguinmails.stack import embedded
    from penguinmails.stack.settings import Settings

    stopped = embedded.stop(Settings.load().home)
    if as_json:
        print_json({"stopped": stopped})
    else:
        console.print(f"Stopped: {', '.join(stopped)}" if stopped else "No embedded server was running.")
