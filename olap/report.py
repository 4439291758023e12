"""The report: one HTML file with charts for executives and deliverability, made from the published marts.

It needs nothing but a browser: no script, no font, no network. Ids stand for tenants and campaigns; no address, name or
subject is in the marts. Belongs here: what is shown. Does not belong here: how charts are drawn (charts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import duckdb

from penguinmails.olap.charts import Series, bar_chart, line_chart
from penguinmails.olap.metrics import METRICS
from penguinmails.olap.reading import open_marts
from penguinmails.stack.clock import utc_now
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "sql" / "report.sql")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2937}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}svg{width:100%;font-size:11px;fill:#6b7280}
figure{margin:1rem 0}figcaption{font-weight:600}table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e5e7eb}td.number{text-align:right}
.figures{display:flex;flex-wrap:wrap;gap:1rem}.figures div{border:1px solid #e5e7eb;border-radius:.5rem;padding:.6rem 1rem}
.figures b{display:block;font-size:1.3rem}footer{margin-top:3rem;color:#6b7280;font-size:13px}"""


@dataclass(frozen=True)
class Report:
    """A finished report.

    Args:
        html: the whole document.
        volume_chart: its first picture as SVG, for places that show one.
        as_of: everything committed before this time is in it.
    """

    html: str
    volume_chart: str
    as_of: datetime


def make_report(stores: Stores, *, clock: Callable[[], datetime] = utc_now) -> Report:
    """Makes the report from the newest published marts.

    Raises:
        NothingPublished: nothing was published yet.
    """
    with open_marts(stores) as connection:
        number, as_of = connection.execute("SELECT number, as_of FROM _meta").fetchall()[0]
        days = _rows(connection, "days")
        volume = line_chart(
            "Messages a day",
            [str(row[0]) for row in days],
            [
                Series(name, [float(row[place]) for row in days])
                for place, name in enumerate(("sent", "delivered", "replied", "bounced"), start=1)
            ],
        )
        body = [
            f"<h1>PenguinMails: mail and money</h1><p>Complete up to {as_of:%Y-%m-%d %H:%M} UTC, publication {number}.</p>",
            _figures(_rows(connection, "totals")[0]),
            "<h2>Volume</h2>" + volume,
            "<h2>Deliverability</h2>" + _rates_chart(connection) + _health_chart(connection),
            "<h2>Campaigns with most mail</h2>"
            + _table(
                ("campaign", "sent", "delivered %", "opened %", "replied %", "bounced %"),
                _rows(connection, "campaigns"),
            ),
            "<h2>Tenants with least margin</h2>"
            + _table(
                ("tenant", "price", "cost", "margin", "delivered", "cost of one", "health"),
                _rows(connection, "tenants"),
            ),
            "<h2>Events that cannot count</h2>" + _table(("reason", "events"), _rows(connection, "quarantine")),
        ]
    rates = "; ".join(f"{metric.name} = {metric.formula}" for metric in METRICS)
    body.append(
        f"<footer>Made {clock():%Y-%m-%d %H:%M} UTC. {escape(rates)}. Rates follow the day of sending.</footer>"
    )
    head = f'<meta charset="utf-8"><title>PenguinMails report</title><style>{_STYLE}</style>'
    return Report(
        f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(body)}</body></html>", volume, as_of
    )


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


def _figures(totals: tuple[Any, ...]) -> str:
    tenants, sent, delivered, price, cost = (value or 0 for value in totals)
    shown = {
        "tenants": f"{tenants:,}",
        "sent, 30 days": f"{sent:,}",
        "delivered, 30 days": f"{delivered:,}",
        "price a month": f"{price:,.2f}",
        "infrastructure a month": f"{cost:,.2f}",
    }
    return (
        '<div class="figures">'
        + "".join(f"<div><b>{value}</b>{name}</div>" for name, value in shown.items())
        + "</div>"
    )


def _rates_chart(connection: duckdb.DuckDBPyConnection) -> str:
    rows = _rows(connection, "rates")
    names = ("delivery rate", "open rate", "reply rate", "bounce rate")
    series = [Series(name, [row[place] for row in rows]) for place, name in enumerate(names, start=1)]
    return line_chart("Rates by day of sending", [str(row[0]) for row in rows], series, unit=" %")


def _health_chart(connection: duckdb.DuckDBPyConnection) -> str:
    rows = _rows(connection, "health")
    labels = [f"{lowest}-{100 if lowest == 80 else lowest + 19}" for lowest, _ in rows]
    return bar_chart("Mailboxes by health score", labels, [count for _, count in rows])


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f'<td class="number">{value:,.2f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def _rows(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[Any, ...]]:
    return connection.execute(_QUERIES[name]).fetchall()
