"""The semantic layer as people ask it: every number of every mart, with its formula, unit and the grains it stands at.

It is gathered from what is declared once (measures.py, metrics.py, the columns of the marts) and published as the table
`metrics`. Belongs here: gathering. Does not belong here: any definition.
"""

from __future__ import annotations

from dataclasses import dataclass

from penguinmails.olap.marts import MARTS
from penguinmails.olap.metrics import METRICS


@dataclass(frozen=True)
class DescribedMetric:
    """One number that marts hold.

    Args:
        name: of its column.
        formula: how it comes about.
        numerator, denominator: of a rate, measures; None for what is no rate.
        unit: what it counts or is measured in.
        description: one sentence for people.
        grains: what one row stands for, in each of the marts.
        marts: that have it under this definition.
    """

    name: str
    formula: str
    numerator: str | None
    denominator: str | None
    unit: str
    description: str
    grains: tuple[str, ...]
    marts: tuple[str, ...]


def described_metrics() -> tuple[DescribedMetric, ...]:
    """Returns every number of every mart, one entry a definition; a name with two formulas has two entries."""
    rates = {metric.name: metric for metric in METRICS}
    places: dict[tuple[str, str], list[int]] = {}
    found = [(column, mart) for mart in MARTS for column in mart.columns if column.unit]
    for place, (column, _) in enumerate(found):
        places.setdefault((column.name, column.source), []).append(place)
    described = []
    for (name, formula), standing in places.items():
        column, rate = found[standing[0]][0], rates.get(name)
        marts = [found[place][1] for place in standing]
        described.append(
            DescribedMetric(
                name=name,
                formula=formula,
                numerator=rate.numerator if rate else None,
                denominator=rate.denominator if rate else None,
                unit=column.unit,
                description=column.description,
                grains=tuple(dict.fromkeys(mart.grain for mart in marts)),
                marts=tuple(mart.name for mart in marts),
            )
        )
    return tuple(described)
