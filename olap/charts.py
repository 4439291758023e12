"""Small charts as SVG text, for reports that must open anywhere without scripts or network.

Belongs here: geometry. Does not belong here: what is drawn (report.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 220, 56, 24, 12
COLOURS = ("#2563eb", "#16a34a", "#d97706", "#dc2626", "#7c3aed")


@dataclass(frozen=True)
class Series:
    """One line: its name and a value for each label; None leaves a gap."""

    name: str
    values: Sequence[float | None]


def line_chart(title: str, labels: Sequence[str], series: Sequence[Series], *, unit: str = "") -> str:
    """Returns an SVG element with one line for each series over common labels."""
    highest = max((value for one in series for value in one.values if value is not None), default=0) or 1
    lines = "".join(
        f'<path d="{_path(one.values, highest)}" fill="none" stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="2"/>'
        for place, one in enumerate(series)
    )
    legend = "".join(
        f'<tspan fill="{COLOURS[place % len(COLOURS)]}" dx="10">{escape(one.name)}</tspan>'
        for place, one in enumerate(series)
    )
    ends = ""
    if labels:
        ends = _text(_LEFT, _HEIGHT - 6, labels[0]) + _text(_WIDTH, _HEIGHT - 6, labels[-1], anchor="end")
    return _svg(
        title,
        _grid(highest, unit) + lines + ends + f'<text x="{_WIDTH}" y="10" text-anchor="end">{legend}</text>',
    )


def bar_chart(title: str, labels: Sequence[str], values: Sequence[float], *, unit: str = "") -> str:
    """Returns an SVG element with one bar for each label."""
    highest = max(values, default=0) or 1
    step = (_WIDTH - _LEFT) / max(len(values), 1)
    bars = ""
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        left, top = _LEFT + place * step, _y(value, highest)
        bars += (
            f'<rect x="{left + step * 0.15:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" '
            f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="{COLOURS[0]}"><title>{escape(label)}: {value:g}{unit}</title></rect>'
        )
        bars += _text(left + step / 2, _HEIGHT - 6, label, anchor="middle")
    return _svg(title, _grid(highest, unit) + bars)


def _svg(title: str, content: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH + 8} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg></figure>'
    )


def _grid(highest: float, unit: str) -> str:
    lines = ""
    for share in (0.0, 0.5, 1.0):
        height = _y(highest * share, highest)
        lines += f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>'
        lines += _text(_LEFT - 6, height + 4, f"{highest * share:,.4g}{unit}", anchor="end")
    return lines


def _path(values: Sequence[float | None], highest: float) -> str:
    step = (_WIDTH - _LEFT) / max(len(values) - 1, 1)
    path, pen = "", "M"
    for place, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        path += f"{pen}{_LEFT + place * step:.1f},{_y(value, highest):.1f}"
        pen = "L"
    return path


def _y(value: float, highest: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / highest)


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
