"""How a snapshot of the queue looks on a terminal.

Belongs here: layout. Does not belong here: figures (probe.py), limits (thresholds.py).
"""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from penguinmails.queue.probe import QueueSnapshot
from penguinmails.queue.thresholds import Severity, evaluate
from penguinmails.stack.console import size

_STYLES = {Severity.WARNING: "yellow", Severity.ERROR: "red", Severity.PAGE: "bold red"}


def status_view(snapshot: QueueSnapshot) -> RenderableType:
    """Returns depths, rates, processes and exceeded limits as one view."""
    parts: list[RenderableType] = [_totals(snapshot), _processes(snapshot)]
    if snapshot.paused:
        parts.append(Text(f"Paused: {', '.join(snapshot.paused)}", style="yellow"))
    said: set[tuple[float, str]] = set()
    for each in evaluate(snapshot):
        if (key := (each.figure, each.threshold.remedy)) not in said:  # of yellow, red and page the worst will do
            said.add(key)
            severity = each.threshold.severity
            parts.append(Text(f"{severity.upper()}  {each.summary}", style=_STYLES[severity]))
    parts += [table for table in (_lanes(snapshot), _ends(snapshot), _living(snapshot)) if table.row_count]
    return Group(*parts)


def list_lines(job: dict[str, Any]) -> Text:
    """Returns one job of a list: its id whole and what matters about it, within 80 columns, and its last error below."""
    attempts = f"{job['attempt_count']}/{job['max_attempts']}"
    lines = Text(f"{job['id']}  {job['status']:17}  {attempts:>5}  {job['run_at']:%m-%d %H:%M:%S}")
    lines.append(f"\n  {job['queue_name']}, priority {job['priority']}", style="dim")
    if job["last_error_message"]:
        lines.append(f"\n  {job['last_error_message'].splitlines()[0][:150]}", style="red")
    return lines


def _totals(snapshot: QueueSnapshot) -> Text:
    return Text(
        f"{snapshot.waiting:,} waiting, {snapshot.running:,} running, oldest {snapshot.oldest_ready_seconds:,.0f} s; "
        f"{snapshot.rate:,.1f} completed a second; last 5 minutes: {snapshot.completed_5_minutes:,} completed, "
        f"{snapshot.failed_5_minutes:,} failed; {snapshot.dead_letters:,} dead letters"
    )


def _processes(snapshot: QueueSnapshot) -> Text:
    kinds = ", ".join(f"{snapshot.processes_of(kind)} {kind}" for kind in ("relay", "worker", "reaper"))
    slots = sum(process.slots for process in snapshot.processes)
    busy = sum(process.busy for process in snapshot.processes)
    redis = "is away" if snapshot.redis is None else f"holds {size(snapshot.redis.memory_bytes)}"
    return Text(f"Processes: {kinds}; {busy} of {slots} slots busy; Redis {redis}")


def _lanes(snapshot: QueueSnapshot) -> Table:
    table = _table(_name("queue"), "band", *_right("ready", "in Redis", "running", "scheduled", "oldest s"))
    for lane in snapshot.lanes:
        if lane.waiting or lane.running or lane.scheduled:
            in_redis = "?" if lane.in_redis is None else f"{lane.in_redis:,}"
            figures = (f"{lane.ready:,}", in_redis, f"{lane.running:,}", f"{lane.scheduled:,}")
            table.add_row(lane.queue_name, lane.band, *figures, f"{lane.oldest_ready_seconds:,.0f}")
    return table


def _ends(snapshot: QueueSnapshot) -> Table:
    table = _table(
        _name("last 5 minutes"),
        *_right("done", "per s", "failed", "retried", "wait p50/p95/p99 s", "run p95 s"),
    )
    for each in snapshot.ends:
        counts = (f"{each.completed:,}", f"{each.rate:,.1f}", f"{each.failed:,}", f"{each.retried:,}")
        waits = (each.wait_p50_seconds, each.wait_p95_seconds, each.wait_p99_seconds)
        table.add_row(each.queue_name, *counts, "/".join(map(_seconds, waits)), _seconds(each.run_p95_seconds))
    return table


def _living(snapshot: QueueSnapshot) -> Table:
    table = _table("process", Column("id", no_wrap=True), *_right("up", "silent s", "busy"))
    for each in snapshot.processes:
        busy = f"{each.busy} of {each.slots}" if each.slots else ""
        table.add_row(each.kind, each.id, _age(each.age_seconds), f"{each.silent_seconds:.1f}", busy)
    return table


def _age(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    return (
        f"{days} d {hours} h"
        if days
        else f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min"
        if minutes
        else f"{rest} s"
    )


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def _table(*columns: Column | str) -> Table:
    """A table that fits into 80 columns."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _name(header: str) -> Column:
    return Column(header, overflow="fold", min_width=14)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]
