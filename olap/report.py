"""The report: one HTML file with charts for executives, deliverability, cost and retention, made from the published marts.

It needs nothing but a browser: no script, no font, no network. Ids stand for tenants, campaigns and mailboxes; no address,
name or subject is in the marts. Belongs here: what is shown. Does not belong here: markup (pages.py), charts (charts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from penguinmails.olap.charts import NARROW, WIDE, Limit, Series, bar_chart, line_chart, standalone
from penguinmails.olap.limits import (
    BOUNCE_SHARE,
    COMPLAINT_SHARE,
    LEAST_HEALTH_POINTS,
    PERIOD_DAYS,
    TENANT_HEALTH,
    WARM_UP_DAYS,
    percent,
)
from penguinmails.olap.metrics import METRICS
from penguinmails.olap.pages import Tile, figure, heat_table, page, section, table, tiles
from penguinmails.olap.quarantine import REASONS
from penguinmails.olap.reading import open_marts
from penguinmails.olap.selects import with_limits
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "sql" / "report.sql")
_RATES = ",\n    ".join(f"{metric.expression} AS {metric.name}" for metric in METRICS)
_PLACE_OF_RATE = {metric.name: place for place, metric in enumerate(METRICS)}
_MONEY = "a month, in the platform's currency"
_MONTHS_AFTER = 11
_NOTE_ON_RETENTION = (
    '<p class="muted">Of the tenants that sent for the first time in a month, the share that sent in that month and in each '
    "month after it. The newest month is not over.</p>"
)
BOUNCE_LIMIT, COMPLAINT_LIMIT = (
    Limit(f"{percent(share)}: receivers act", 100 * share) for share in (BOUNCE_SHARE, COMPLAINT_SHARE)
)
_PERIOD = f"{PERIOD_DAYS} days"
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Report:
    """A finished report.

    Args:
        html: the whole document.
        picture: its first chart as an SVG document of its own, for places that show one.
        as_of: everything committed before this time is in it.
    """

    html: str
    picture: str
    as_of: datetime


def make_report(stores: Stores, *, clock: Callable[[], datetime] = utc_now) -> Report:
    """Makes the report from the newest published marts.

    Raises:
        NothingPublished: nothing was published yet.
    """
    with open_marts(stores) as connection:
        number, as_of = connection.execute("SELECT number, as_of FROM _meta").fetchall()[0]
        volume = _volume_chart(_rows(connection, "days"))
        sections = {
            "summary": ("Summary", [_summary(connection)]),
            "volume": ("Volume", [figure(volume, "Messages a day", "each on the UTC day it first happened")]),
            "deliverability": ("Deliverability", _deliverability(connection)),
            "engagement": ("Engagement", _engagement(connection)),
            "cost": ("Cost and margin", _cost(connection)),
            "retention": ("Retention", _retention(connection)),
            "data": ("Data", _data(connection)),
        }
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, (title, _) in sections.items())
    head = (
        "<h1>PenguinMails: mail and money</h1>"
        f'<p class="muted">Complete up to {as_of:%Y-%m-%d %H:%M} UTC; publication {number}, '
        f"made {clock():%Y-%m-%d %H:%M} UTC.</p>"
        f"<nav>{links}</nav>"
    )
    body = [head, *(section(anchor, title, *content) for anchor, (title, content) in sections.items()), _definitions()]
    return Report(page("PenguinMails report", body), standalone(volume), as_of.replace(tzinfo=UTC))


def write_report(stores: Stores, output: Path, *, clock: Callable[[], datetime] = utc_now) -> Report:
    """Writes the report to a file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
        NothingPublished: nothing was published yet.
    """
    report = make_report(stores, clock=clock)
    unfinished = output.with_name(output.name + ".unfinished")
    try:
        unfinished.write_text(report.html, encoding="utf-8")
        unfinished.replace(output)
    except OSError as error:
        raise InputError(str(output), f"cannot be written ({error.strerror})", "Give another --output.") from error
    return report


def _summary(connection: duckdb.DuckDBPyConnection) -> str:
    periods = {is_before: row for is_before, *row in _rows(connection, "rates_of_periods")}
    now, before = periods.get(False), periods.get(True)
    ((tenants, price, cost, margin, per_thousand),) = _rows(connection, "money")
    shown = [
        _counted(f"tenants that sent, {_PERIOD}", now, before, 0),
        _counted(f"messages sent, {_PERIOD}", now, before, 1),
        _rated("delivery_rate", "delivered", now, before, less_is_better=False),
        _rated("reply_rate", "replied", now, before, less_is_better=False),
        _rated("bounce_rate", "bounced", now, before, less_is_better=True),
        _rated("complaint_rate", "complained", now, before, less_is_better=True),
        Tile(f"plans {_MONEY}", f"{price:,.2f}", f"{tenants:,} tenants"),
        Tile(
            f"infrastructure {_MONEY}",
            f"{cost:,.2f}",
            f"{per_thousand:,.2f} per 1,000 delivered" if per_thousand else "",
        ),
        Tile(
            f"margin {_MONEY}",
            f"{margin:,.2f}",
            f"{100 * float(margin) / float(price):,.0f} % of plans" if price else "",
            None if not price else margin >= 0,
        ),
    ]
    return tiles(shown)


def _counted(name: str, now: Sequence[Any] | None, before: Sequence[Any] | None, place: int) -> Tile:
    if now is None:
        return Tile(name, "–")
    if before is None or not before[place]:
        return Tile(name, f"{now[place]:,}", f"nothing in the {_PERIOD} before")
    change = 100 * (now[place] / before[place] - 1)
    return Tile(
        name, f"{now[place]:,}", f"{change:+,.1f} % against the {_PERIOD} before", None if change == 0 else change > 0
    )


def _rated(
    metric: str, name: str, now: Sequence[Any] | None, before: Sequence[Any] | None, *, less_is_better: bool
) -> Tile:
    place = 2 + _PLACE_OF_RATE[metric]
    if now is None or now[place] is None:
        return Tile(f"{name}, {_PERIOD}", "–")
    if before is None or before[place] is None:
        return Tile(f"{name}, {_PERIOD}", f"{now[place]:.2f} %", f"nothing in the {_PERIOD} before")
    change = now[place] - before[place]
    better = None if abs(change) < 0.005 else (change < 0) == less_is_better
    return Tile(
        f"{name}, {_PERIOD}", f"{now[place]:.2f} %", f"{change:+.2f} points against the {_PERIOD} before", better
    )


def _volume_chart(days: Rows) -> str:
    names = ("sent", "delivered", "replied", "bounced")
    return line_chart(
        "Messages a day",
        _days(days),
        [Series(name, _column(days, place)) for place, name in enumerate(names, 1)],
        unit="messages",
    )


def _deliverability(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rates = _rows(connection, "rates")
    health, warmups = _rows(connection, "mailbox_health"), _rows(connection, "warmups")
    ranges = [f"{lowest}–{100 if lowest == 80 else lowest + 19}" for lowest, _ in health]
    return [
        figure(
            _rates_chart("Delivery rate", rates, ("delivery_rate",)),
            "Delivery rate",
            "of the messages sent on each day, whenever they were delivered",
        ),
        '<div class="pair">',
        figure(
            _rates_chart("Bounce rate", rates, ("bounce_rate",), limits=(BOUNCE_LIMIT,), width=NARROW),
            "Bounce rate",
            "of the messages sent",
        ),
        figure(
            _rates_chart("Complaint rate", rates, ("complaint_rate",), limits=(COMPLAINT_LIMIT,), width=NARROW),
            "Complaint rate",
            "of the messages delivered",
        ),
        figure(
            bar_chart(
                "Mailboxes by health score",
                ranges,
                [Series("mailboxes", _column(health, 1))],
                unit="mailboxes",
                width=NARROW,
            ),
            "Mailboxes by health score",
            "0 burned, 100 sound",
        ),
        figure(
            bar_chart(
                "Mailboxes by warm-up",
                [state for state, _ in warmups],
                [Series("mailboxes", _column(warmups, 1))],
                unit="mailboxes",
                width=NARROW,
            ),
            "Mailboxes by warm-up",
            f"warmed after {WARM_UP_DAYS} days of warm-up mail",
        ),
        f"</div><h3>Mailboxes that need rest (health below {LEAST_HEALTH_POINTS})</h3>",
        table(
            ("mailbox", "tenant", "health, points", "messages on its last day", "warm-up"),
            _rows(connection, "weakest_mailboxes"),
            empty=f"None: every mailbox that has sent is at {LEAST_HEALTH_POINTS} or above.",
        ),
    ]


def _engagement(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        figure(
            _rates_chart("Engagement", _rows(connection, "rates"), ("open_rate", "click_rate", "reply_rate")),
            "Opened, clicked, replied",
            "of the messages sent on each day that were delivered; opens as far as tracking sees them",
        ),
        "<h3>Campaigns with most mail</h3>",
        table(
            ("campaign", "sent", "delivered, %", "opened, %", "clicked, %", "replied, %", "bounced, %"),
            _rows(connection, "campaigns"),
            empty="No campaign has sent anything yet.",
        ),
    ]


def _cost(connection: duckdb.DuckDBPyConnection) -> list[str]:
    states, costliest = _rows(connection, "business_health"), _rows(connection, "costliest")
    money = [Series("plan", _column(costliest, 1)), Series("infrastructure", _column(costliest, 2))]
    return [
        '<div class="pair">',
        figure(
            bar_chart("Plan and cost", [str(row[0])[-4:] for row in costliest], money, unit="a month", width=NARROW)
            if costliest
            else '<p class="muted">No domain is assigned to an address: nothing is allocated.</p>',
            "What the costliest tenants pay and cost",
            f"{_MONEY}; last letters of the tenant's id",
        ),
        figure(
            bar_chart(
                "Tenants by health",
                [state for state, _ in states],
                [Series("tenants", _column(states, 1))],
                unit="tenants",
                width=NARROW,
            ),
            "Tenants by plan against cost",
            TENANT_HEALTH,
        ),
        "</div><h3>Tenants with least margin</h3>",
        table(
            ("tenant", "plan", "infrastructure", "margin", f"delivered, {_PERIOD}", "cost of one delivered", "health"),
            _rows(connection, "least_margin"),
            empty="There is no tenant yet.",
        ),
    ]


def _retention(connection: duckdb.DuckDBPyConnection) -> list[str]:
    cohorts: dict[date, dict[int, int]] = {}
    for first_month, months_later, tenants in _rows(connection, "retention"):
        cohorts.setdefault(first_month, {})[months_later] = tenants
    newest = max((_months(month) + max(later) for month, later in cohorts.items()), default=0)
    columns = min(max((newest - _months(month) for month in cohorts), default=0), _MONTHS_AFTER)
    rows = [
        (
            f"{month:%Y-%m}",
            later[0],
            [
                100 * later.get(after, 0) / later[0] if _months(month) + after <= newest else None
                for after in range(columns + 1)
            ],
        )
        for month, later in cohorts.items()
    ]
    names = ("first sent in", "tenants", *(f"+{after}" for after in range(columns + 1)))
    return [
        _NOTE_ON_RETENTION,
        heat_table(names, rows, empty="No tenant has sent anything yet."),
    ]


def _data(connection: duckdb.DuckDBPyConnection) -> list[str]:
    remedies = {reason.name: reason.remedy for reason in REASONS}
    rows = [(reason, int(events), remedies.get(reason, "")) for reason, events in _rows(connection, "quarantine")]
    return [
        '<p class="muted">Events that cannot count are kept apart with their reason and counted in nothing above.</p>',
        table(("reason", "events", "what to do"), rows, empty="Every event counts."),
    ]


def _definitions() -> str:
    rates = "; ".join(f"{metric.name} = {metric.formula}" for metric in METRICS)
    note = "Rates follow the messages sent on a day. Ids stand for tenants, campaigns and mailboxes."
    return f"<footer>{rates} (percent). {note}</footer>"


def _rates_chart(
    title: str, rates: Rows, names: Sequence[str], *, limits: Sequence[Limit] = (), width: int = WIDE
) -> str:
    series = [Series(name.replace("_", " "), _column(rates, 1 + _PLACE_OF_RATE[name])) for name in names]
    return line_chart(title, _days(rates), series, unit="%", limits=limits, width=width)


def _months(month: date) -> int:
    return month.year * 12 + month.month


def _days(rows: Rows) -> list[str]:
    return [f"{row[0]:%d %b}" for row in rows]


def _column(rows: Rows, place: int) -> list[float | None]:
    return [None if row[place] is None else float(row[place]) for row in rows]


def _rows(connection: duckdb.DuckDBPyConnection, name: str) -> Rows:
    return connection.execute(with_limits(_QUERIES[name].replace("{rates}", _RATES))).fetchall()
