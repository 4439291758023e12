"""Small charts as SVG text, for reports that must open anywhere without scripts or network, in the light, dark and on paper.

Every chart has its unit, its axes, a line for every limit, and the exact figure of every point as a tooltip. Colours are CSS
variables, so that the page around decides; `standalone` gives a chart its own, for places that show one as a picture.

Belongs here: geometry and style. Does not belong here: what is drawn (report.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDE, NARROW = 760, 370
"""Widths of a chart that has a line of the page for itself, and of one of two beside each other."""
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 250, 60, 12, 40, 26
_TICKS, _LABEL_WIDTH, _CHARACTER = 4, 100, 6.2
STYLE = """svg{font:11px system-ui,sans-serif;--ink:#1f2937;--muted:#5b6472;--line:#dfe3e8;--paper:#fff;
--s0:#2563eb;--s1:#15803d;--s2:#b45309;--s3:#dc2626;--s4:#7c3aed}
@media screen and (prefers-color-scheme:dark){svg{--ink:#e5e7eb;--muted:#a3adba;--line:#374151;--paper:#111827;
--s0:#60a5fa;--s1:#4ade80;--s2:#fbbf24;--s3:#f87171;--s4:#c4b5fd}}
svg text{fill:var(--muted)}svg .name{fill:var(--ink)}svg .grid{stroke:var(--line)}
svg .limit{stroke:var(--s3);stroke-dasharray:4 4}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round}""" + "".join(
    f"svg .line.s{number}{{stroke:var(--s{number})}}svg .mark.s{number}{{fill:var(--s{number})}}" for number in range(5)
)


@dataclass(frozen=True)
class Series:
    """One line or one set of bars: its name and a value for each label; None leaves a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Limit:
    """A value that should not be passed, drawn across the chart."""

    name: str
    value: float


def line_chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str,
    limits: Sequence[Limit] = (),
    width: int = WIDE,
) -> str:
    """Returns an SVG element with one line for each series over common labels.

    Args:
        unit: of the values, written at the axis.
        limits: lines across; the axis reaches at least to them.
        width: WIDE or NARROW.
    """
    top = _top([value for one in series for value in one.values] + [limit.value for limit in limits])
    right = width - _RIGHT
    places = [_LEFT + (right - _LEFT) * (place + 0.5) / max(len(labels), 1) for place in range(len(labels))]
    drawn = "".join(
        f'<path class="line s{number}" d="{_path(one.values, places, top)}"/>'
        + "".join(
            f'<circle class="mark s{number}" cx="{x:.1f}" cy="{_y(value, top):.1f}" r="2.5">'
            f"<title>{escape(label)}, {escape(one.name)}: {_figure(value)} {escape(unit)}</title></circle>"
            for x, label, value in zip(places, labels, one.values, strict=True)
            if value is not None
        )
        for number, one in enumerate(series)
    )
    lines = "".join(
        f'<line class="limit" x1="{_LEFT}" x2="{right}" y1="{_y(limit.value, top):.1f}" '
        f'y2="{_y(limit.value, top):.1f}"/>{_text(right, _y(limit.value, top) - 4, limit.name, anchor="end")}'
        for limit in limits
    )
    step = max(1, math.ceil(len(labels) * _LABEL_WIDTH / width))
    ticks = "".join(
        _text(x, _HEIGHT - 8, label, anchor="middle")
        for number, (x, label) in enumerate(zip(places, labels, strict=True))
        if number % step == 0
    )
    return _svg(title, _axis(top, unit, right) + lines + drawn + ticks + _legend(series, right), width)


def bar_chart(title: str, labels: Sequence[str], series: Sequence[Series], *, unit: str, width: int = WIDE) -> str:
    """Returns an SVG element with a group of bars, one of each series, for each label."""
    top = _top([value for one in series for value in one.values])
    right = width - _RIGHT
    step = (right - _LEFT) / max(len(labels), 1)
    thick = min(step * 0.76 / max(len(series), 1), 64)
    bars = ""
    for place, label in enumerate(labels):
        middle = _LEFT + (place + 0.5) * step
        for number, one in enumerate(series):
            value = one.values[place]
            if value is None:
                continue
            left, y = middle + (number - len(series) / 2) * thick, _y(max(value, 0), top)
            bars += (
                f'<rect class="mark s{number}" x="{left + 1:.1f}" y="{y:.1f}" width="{thick - 2:.1f}" '
                f'height="{_HEIGHT - _BOTTOM - y:.1f}"><title>{escape(label)}, {escape(one.name)}: {_figure(value)} '
                f"{escape(unit)}</title></rect>"
            )
            if len(series) == 1:
                bars += _text(middle, y - 4, _figure(value), anchor="middle")
        bars += _text(middle, _HEIGHT - 8, label, anchor="middle")
    return _svg(title, _axis(top, unit, right) + bars + (_legend(series, right) if len(series) > 1 else ""), width)


def standalone(chart: str) -> str:
    """Returns a chart as a picture of its own, with its style inside."""
    opening, content = chart.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{content}'


def _svg(title: str, content: str, width: int) -> str:
    return f'<svg viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(title)}">{content}</svg>'


def _axis(top: float, unit: str, right: float) -> str:
    lines = _text(_LEFT, _TOP - 12, unit, anchor="end")
    for number in range(_TICKS + 1):
        value = top * number / _TICKS
        y = _y(value, top)
        lines += f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        lines += _text(_LEFT - 6, y + 4, _figure(value), anchor="end")
    return lines


def _legend(series: Sequence[Series], right: float) -> str:
    x, drawn = right, ""
    for number, one in reversed(list(enumerate(series))):
        x -= len(one.name) * _CHARACTER
        drawn += f'<text class="name" x="{x:.1f}" y="14">{escape(one.name)}</text>'
        drawn += f'<rect class="mark s{number}" x="{x - 15:.1f}" y="5" width="11" height="10" rx="2"/>'
        x -= 30
    return drawn


def _top(values: Sequence[float | None]) -> float:
    """Returns the upper end of an axis: four equal steps of 1, 2, 2.5 or 5 times a power of ten."""
    highest = max((value for value in values if value is not None), default=0.0)
    if highest <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(highest / _TICKS))
    step = next(times * power for times in (1, 2, 2.5, 5, 10, 20) if times * power * _TICKS >= highest * (1 - 1e-9))
    return float(step * _TICKS)


def _path(values: Sequence[float | None], places: Sequence[float], top: float) -> str:
    path, pen = "", "M"
    for value, x in zip(values, places, strict=True):
        if value is None:
            pen = "M"
            continue
        path += f"{pen}{x:.1f},{_y(value, top):.1f}"
        pen = "L"
    return path


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
