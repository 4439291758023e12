"""The pieces of an HTML page that needs nothing else: tiles, tables, figures, and the style of the whole.

Readable in the light, in the dark and on paper. Belongs here: markup and style. Does not belong here: what is shown
(report.py), how charts are drawn (charts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

from penguinmails.olap.charts import STYLE as CHART_STYLE

_STYLE = """:root{color-scheme:light dark;--ink:#1f2937;--muted:#5b6472;--line:#dfe3e8;--paper:#fff;--raised:#f6f7f9;
--good:#15803d;--bad:#b91c1c;--accent:37,99,235}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e5e7eb;--muted:#a3adba;--line:#374151;--paper:#111827;
--raised:#1b2432;--good:#4ade80;--bad:#f87171;--accent:96,165,250}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1.2rem;
color:var(--ink);background:var(--paper)}h1{font-size:1.7rem;margin-bottom:0}h2{font-size:1.2rem;margin:2.6rem 0 .4rem;
padding-bottom:.3rem;border-bottom:2px solid var(--line)}h3{font-size:1rem;margin:1.4rem 0 .2rem}
p{margin:.4rem 0}.muted,figcaption span,.tiles small{color:var(--muted)}svg{width:100%;height:auto;display:block}
figure{margin:1.2rem 0}figcaption{font-weight:600;margin-bottom:.2rem}figcaption span{font-weight:400}
nav{margin:.8rem 0}nav a{margin-right:1.1rem;color:inherit}.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 2rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.8rem;margin:1rem 0}
.tiles div{background:var(--raised);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}
.tiles b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}.tiles small{display:block}
.tiles .better{color:var(--good)}.tiles .worse{color:var(--bad)}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.32rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--muted);font-weight:600}th.number,td.number{text-align:right}td.id{font-family:ui-monospace,monospace;font-size:12px}
footer{margin-top:3rem;color:var(--muted);font-size:13px}@media(max-width:44rem){.pair{grid-template-columns:1fr}}
@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}figure,.tiles,tr{break-inside:avoid}
nav{display:none}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True)
class Tile:
    """One figure for people in a hurry.

    Args:
        name: what it is, with its unit.
        value: as shown.
        note: a line below, such as the figure before.
        is_better: whether it moved for the better; None where that cannot be said.
    """

    name: str
    value: str
    note: str = ""
    is_better: bool | None = None


def page(title: str, body: Sequence[str]) -> str:
    """Returns the whole document."""
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}{CHART_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def section(anchor: str, title: str, *content: str) -> str:
    """Returns a part of the page that can be led to by `#anchor`."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{"".join(content)}</section>'


def figure(chart: str, title: str, note: str) -> str:
    """Returns a chart with its title and a line that says what it counts."""
    return f"<figure><figcaption>{escape(title)} <span>{escape(note)}</span></figcaption>{chart}</figure>"


def tiles(found: Sequence[Tile]) -> str:
    """Returns tiles side by side."""
    shown = ""
    for tile in found:
        moved = {None: "", True: ' class="better"', False: ' class="worse"'}[tile.is_better]
        shown += f"<div><small>{escape(tile.name)}</small><b>{escape(tile.value)}</b>"
        shown += f"<small{moved}>{escape(tile.note)}</small></div>"
    return f'<div class="tiles">{shown}</div>'


def table(names: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> str:
    """Returns a table; numbers stand to the right.

    Args:
        names: of the columns, with their units.
        empty: what is said when there are no rows.
    """
    if not rows:
        return f'<p class="muted">{escape(empty)}</p>'
    numeric = [any(isinstance(row[place], int | float | Decimal) for row in rows) for place in range(len(names))]
    head = "".join(
        f'<th class="number">{escape(name)}</th>' if is_number else f"<th>{escape(name)}</th>"
        for name, is_number in zip(names, numeric, strict=True)
    )
    lines = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def heat_table(names: Sequence[str], rows: Sequence[tuple[str, int, Sequence[float | None]]], *, empty: str) -> str:
    """Returns a table of shares whose cells are the darker the more.

    Args:
        names: of the columns.
        rows: name, size of the group and its shares in percent; None leaves a cell empty.
        empty: what is said when there are no rows.
    """
    if not rows:
        return f'<p class="muted">{escape(empty)}</p>'
    head = f"<th>{escape(names[0])}</th>" + "".join(f'<th class="number">{escape(name)}</th>' for name in names[1:])
    lines = ""
    for name, size, shares in rows:
        cells = "".join(
            '<td class="number"></td>'
            if share is None
            else f'<td class="number" style="background:rgba(var(--accent),{share / 180:.2f})">{share:.0f} %</td>'
            for share in shares
        )
        lines += f'<tr><td>{escape(name)}</td><td class="number">{size:,}</td>{cells}</tr>'
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(value: object) -> str:
    if value is None:
        return '<td class="number">–</td>'
    if isinstance(value, float | Decimal):
        places = 4 if isinstance(value, Decimal) and 0 < abs(value) < 1 else 2
        return f'<td class="number">{value:,.{places}f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    text = str(value)
    return f'<td class="id">{text}</td>' if len(text) == 36 and text.count("-") == 4 else f"<td>{escape(text)}</td>"
