"""Options that several commands of `penguinmails queue` share: filters, orders, ranges.

Belongs here: how arguments are read and refused. Does not belong here: commands (cli.py, cli_jobs.py).
"""

from __future__ import annotations

import getpass
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from penguinmails.queue.errors import JobRefused, PayloadRefused
from penguinmails.stack.console import json_option

if TYPE_CHECKING:
    from penguinmails.queue.operations import JobFilter

PORT = click.IntRange(0, 65_535)
STATUSES = ("queued", "migrated_to_redis", "running", "completed", "failed", "retry_scheduled", "cancelled")
_MOST_CHANGED = 10_000


class FiniteRange(click.FloatRange):
    """A range that neither infinity nor "not a number" slips through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say which jobs are meant; `job_filter` reads them."""
    for option in (
        click.option("--created-after", type=click.DateTime(), help="Created at or after this time (UTC)."),
        click.option("--created-before", type=click.DateTime(), help="Created before this time (UTC)."),
        click.option("--error", help="Last error contains this text."),
        click.option("--payload", help="Payload contains this JSON object."),
        click.option("--tenant", "tenant_id", type=click.UUID, help="Of this tenant."),
        click.option(
            "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Of this status (repeatable)."
        ),
        click.option("--queue", "queue_name", help="Of this queue."),
        click.option("--id", "ids", multiple=True, type=click.UUID, help="This job (repeatable)."),
    ):
        command = option(command)
    return command


def who_and_why(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what every change leaves in the audit."""
    for option in (
        click.option("--actor", default=getpass.getuser, help="Who wants it (default: you)."),
        click.option("--reason", required=True, help="Why; kept in the audit."),
    ):
        command = option(command)
    return command


def orders(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a change of many jobs."""
    for option in (
        json_option,
        who_and_why,
        click.option(
            "--at-most",
            default=100,
            show_default=True,
            type=click.IntRange(1, _MOST_CHANGED),
            help="Change no more jobs than this.",
        ),
        click.option("--yes", is_flag=True, help="Do it; without this only what would be done is shown."),
        click.option("--all", "is_for_all", is_flag=True, help="Means every job, when no filter is given."),
    ):
        command = option(command)
    return filters(command)


def job_filter(arguments: dict[str, Any]) -> JobFilter:
    """Returns what the options of `filters` say.

    Raises:
        PayloadRefused: `--payload` is not a JSON object.
    """
    from penguinmails.queue.operations import JobFilter

    return JobFilter(
        ids=arguments["ids"] or None,
        queue_name=arguments["queue_name"],
        statuses=arguments["statuses"] or None,
        tenant_id=arguments["tenant_id"],
        payload=None if arguments["payload"] is None else json_object("--payload", arguments["payload"]),
        error=arguments["error"],
        created_before=utc(arguments["created_before"]),
        created_after=utc(arguments["created_after"]),
    )


def require_filter(arguments: dict[str, Any], *, is_for_all: bool) -> None:
    """Makes sure that an order says which jobs it means.

    Raises:
        JobRefused: it names no filter and does not say that it means all jobs.
    """
    if not is_for_all and all(value in (None, ()) for value in arguments.values()):
        raise JobRefused("order", "names no filter", "Say which jobs (--queue, --status, --id …), or add --all.")


def json_object(name: str, text: str) -> dict[str, Any]:
    """Returns the JSON object that an argument holds.

    Raises:
        PayloadRefused: it holds something else.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise PayloadRefused(name, "is not a JSON object", "Give one, for example '{}'.")
    return document


def utc(moment: datetime | None) -> datetime | None:
    """Returns what was given as a time without a zone in UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)
