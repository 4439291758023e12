"""The `penguinmails` command.

Belongs here: the commands about the machine (up, down, status, doctor) and finding the groups that tiers contribute.
Does not belong here: a tier's own commands; they live in `<tier>/cli.py` and are named in pyproject.toml.

Exit codes: 0 all well; 1 something is wrong and said; 2 wrong input; 3 a server cannot be had; 4 stored data is damaged.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import NoReturn

import click

from penguinmails.stack.console import console, json_option, notes, print_json, size
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
        _end_with(error)
    except Exception as error:  # looked at, and raised again unless an old schema is what it comes from
        outdated = _outdated_schema(error)
        if outdated is None:
            raise
        _end_with(outdated)


def _end_with(error: PlatformError) -> NoReturn:
    notes.print(f"[bold red]{type(error).__name__}[/]  ", end="")
    notes.print(f"{error.thing}: {error.problem}.", markup=False, soft_wrap=True)
    notes.print(f"What to do: {error.remedy}", markup=False, soft_wrap=True)
    sys.exit(error.exit_code)


def _outdated_schema(error: Exception) -> PlatformError | None:
    """Returns what to say when a statement names what the database has not got, because it was not migrated."""
    import psycopg

    if not isinstance(
        error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn | psycopg.errors.UndefinedFunction
    ):
        return None
    from penguinmails.stack.stores import resolve

    stores = resolve()
    for entry in contributions("penguinmails.schemas").values():
        try:
            entry.load().require(stores)
        except PlatformError as outdated:
            return outdated
    return None


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


@penguinmails.command()
@json_option
def status(as_json: bool) -> None:
    """Say which embedded servers run, since when, and how much they store. Starts nothing."""
    from datetime import UTC, datetime

    from penguinmails.stack import embedded
    from penguinmails.stack.settings import Settings

    home = Settings.load().home
    servers = embedded.find(home)
    running = servers.running() if servers else {}
    rows = [
        {
            "server": name,
            "running": process is not None,
            "pid": process.pid if process else None,
            "started_at": datetime.fromtimestamp(process.started_at, UTC) if process else None,
            "size_bytes": folder_size_bytes(home / name),
        }
        for name, process in running.items()
    ]
    if as_json:
        print_json({"home": home, "servers": rows})
        return
    console.print(f"Data of this platform: {home}")
    if not rows:
        console.print("No embedded server was ever started here: penguinmails up")
    for row in rows:
        state = f"runs since {row['started_at']:%Y-%m-%d %H:%M} UTC (pid {row['pid']})" if row["running"] else "is down"
        console.print(f"  {row['server']:<9} {state}, {size(row['size_bytes'])}")  # type: ignore[arg-type]


@penguinmails.command()
@json_option
def doctor(as_json: bool) -> None:
    """Examine every store, setting and policy; each problem comes with its remedy. Exit 1 when there is one."""
    from dataclasses import asdict

    from rich.table import Table

    from penguinmails.stack import doctor as examination
    from penguinmails.stack.stores import resolve

    findings = list(examination.examine(resolve()))
    healthy = all(finding.ok for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("", "what", "seen", "what to do"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            mark = "[green]ok[/]" if finding.ok else "[bold red]bad[/]"
            table.add_row(mark, finding.name, finding.detail, finding.remedy)
        console.print(table)
    if not healthy:
        sys.exit(1)


def folder_size_bytes(folder: Path) -> int:
    """Returns what the files under `folder` occupy; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if not path.is_dir():
                total += path.lstat().st_size
    return total


if __name__ == "__main__":
    main()
