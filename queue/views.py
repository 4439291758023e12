"""How a snapshot of the queue looks on a terminal.

Belongs here: layout. Does not belong here: figures (probe.py), limits (thresholds.py).
"""

from __future__ import annotations

from typing import Any

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
    for each in evaluate(snapshot):
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
        f"last 5 minutes: {snapshot.completed_5_minutes:,} completed ({snapshot.completed_5_minutes / 300:,.1f}/s), "
        f"{snapshot.failed_5_minutes:,} failed; {snapshot.dead_letters:,} dead letters"
    )


def _processes(snapshot: QueueSnapshot) -> Text:
    kinds = ", ".join(f"{snapshot.processes_of(kind)} {kind}" for kind in ("relay", "worker", "reaper"))
    slots = sum(process.slots for process in snapshot.processes)
    busy = sum(process.busy for process in snapshot.processes)
    redis = "is away" if snapshot.redis is None else f"holds {size(snapshot.redis.memory_bytes)}"
    return Text(f"Processes: {kinds}; {busy} of {slots} slots busy; Redis {redis}")


def _lanes(snapshot: QueueSnapshot) -> Table:
    table = Table("queue", "band", *_right("ready", "in Redis", "running", "scheduled", "oldest"))
    for lane in snapshot.lanes:
        if lane.waiting or lane.running or lane.scheduled:
            in_redis = "?" if lane.in_redis is None else f"{lane.in_redis:,}"
            figures = (f"{lane.ready:,}", in_redis, f"{lane.running:,}", f"{lane.scheduled:,}")
            table.add_row(lane.queue_name, lane.band, *figures, f"{lane.oldest_ready_seconds:,.0f} s")
    return table


def _ends(snapshot: QueueSnapshot) -> Table:
    table = Table(
        "last 5 minutes", *_right("completed", "failed", "retried", "wait p50", "wait p95", "wait p99", "run p95")
    )
    for each in snapshot.ends:
        counts = (f"{each.completed:,}", f"{each.failed:,}", f"{each.retried:,}")
        times = (each.wait_p50_seconds, each.wait_p95_seconds, each.wait_p99_seconds, each.run_p95_seconds)
        table.add_row(each.queue_name, *counts, *(f"{seconds:,.3f} s" for seconds in times))
    return table


def _living(snapshot: QueueSnapshot) -> Table:
    table = Table("process", Column("id", no_wrap=True), *_right("up", "silent", "busy"))
    for each in snapshot.processes:
        busy = f"{each.busy} of {each.slots}" if each.slots else ""
        table.add_row(each.kind, each.id, _age(each.age_seconds), f"{each.silent_seconds:.1f} s", busy)
    return table


def _age(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    )


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]
