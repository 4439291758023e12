"""What `penguinmails run` prints at the end: what came in, what it became, what it means, and where to look next.

Belongs here: the words and tables of the summary. Does not belong here: computing anything; the tiers' statistics do.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
from rich.console import Console
from rich.table import Table

from penguinmails.content_store.statistics import content_statistics
from penguinmails.olap.reading import open_marts, published_path
from penguinmails.oltp.statistics import table_statistics
from penguinmails.pipelines.running import RunOutcome
from penguinmails.stack.console import size
from penguinmails.stack.stores import Stores

_EXCERPT = """
    SELECT substr(CAST(campaign_id AS VARCHAR), 1, 13) || '…' AS campaign, status, sent, delivered, opened_tracked AS opened,
           clicked_tracked AS clicked, replied, bounced, completed_leads AS completed
    FROM campaign_analytics
    ORDER BY sent DESC, campaign_id
    LIMIT 5
"""
_COUNTED_TABLES = ("email_messages", "email_message_bodies", "email_events", "email_accounts", "leads", "campaigns")


def print_summary(console: Console, stores: Stores, outcome: RunOutcome) -> None:
    """Prints the summary of one run; the figures are what the stores hold now, beside what this run did."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for tier, lines in (
        ("Mail", _mail(outcome)),
        ("OLTP", _rows(stores)),
        ("Content", _content(stores, outcome)),
        ("Marts", _marts(stores, outcome)),
        ("Queue", _queue(outcome)),
        ("Checks", _checks(outcome)),
    ):
        for number, line in enumerate(lines):
            table.add_row(tier if number == 0 else "", line)
    console.print()
    console.print(table)
    console.print()
    console.print(_excerpt(stores))
    console.print()
    console.print(
        f"Done in {outcome.seconds:.1f} s. Look closer:\n"
        "  make ui                                       everything in Dagster\n"
        '  .venv/bin/penguinmails sql "FROM email_daily"  the marts, at any time\n'
        "  .venv/bin/penguinmails oltp messages          messages and their storage keys\n"
        "  .venv/bin/penguinmails content get ID         one message, bit for bit\n"
        "  .venv/bin/penguinmails queue status           the queue\n"
        "  make stop                                     stop the servers; the data stays"
    )


def _mail(outcome: RunOutcome) -> Iterator[str]:
    report = outcome.reports["intake"]
    yield (
        f"{report.read:,} read ({size(report.size_bytes)}): {report.loaded:,} loaded, {report.already_there:,} there before, "
        f"{report.duplicates:,} copies of another, {report.set_aside:,} set aside"
    )
    if report.reasons:
        yield "set aside: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.reasons.items()))


def _rows(stores: Stores) -> Iterator[str]:
    found = {each.table: each for each in table_statistics(stores)}
    yield ", ".join(f"{found[name].rows:,} {name}" for name in _COUNTED_TABLES if name in found)


def _content(stores: Stores, outcome: RunOutcome) -> Iterator[str]:
    report, held = outcome.reports["hand_over"], content_statistics(stores)
    yield (
        f"{report.messages:,} bodies handed over now in {report.packs:,} packs, "
        f"{report.removed_from_oltp:,} removed from PostgreSQL after being read back"
    )
    ratio = f" ({held.ratio:.2f}x, encrypted)" if held.ratio else ""
    yield f"{held.messages:,} messages held: {size(held.raw_bytes)} became {size(held.pack_bytes)}{ratio}"
    yield from report.problems


def _marts(stores: Stores, outcome: RunOutcome) -> Iterator[str]:
    rolled, published = outcome.reports["roll_up"], outcome.reports["publish"]
    yield (
        f"{rolled.rows_extracted:,} rows extracted, {rolled.days_touched:,} days touched, "
        f"{rolled.events_quarantined:,} events in quarantine"
    )
    yield f"{published.marts:,} marts with {published.rows:,} rows published to {published_path(stores.marts_folder)}"


def _queue(outcome: RunOutcome) -> Iterator[str]:
    done, queue = outcome.reports["round_trip"], outcome.reports["queue"]
    yield (
        f"{done.completed:,} job there and back in {done.seconds:.2f} s; {queue['waiting']:,} waiting, "
        f"{queue['running']:,} running, {queue['dead_letters']:,} dead letters"
    )


def _checks(outcome: RunOutcome) -> Iterator[str]:
    failed = outcome.checks_failed
    yield f"{outcome.checks_passed:,} passed, " + (f"[bold red]{len(failed):,} failed[/]" if failed else "none failed")
    for check in failed:
        yield f"[red]{check.asset}: {check.check}[/] {check.description}"


def _excerpt(stores: Stores) -> Table | str:
    with open_marts(stores) as marts:
        found: duckdb.DuckDBPyRelation = marts.sql(_EXCERPT)
        rows = found.fetchall()
        if not rows:
            return "campaign_analytics is empty: this mail belongs to no campaign (see email_daily)."
        table = Table(title="campaign_analytics, the five largest", title_justify="left", box=None, pad_edge=False)
        for name in found.columns:
            table.add_column(name, justify="left" if name in {"campaign", "status"} else "right")
        for row in rows:
            table.add_row(*(str(value) for value in row))
        return table
