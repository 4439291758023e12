"""The SELECTs of facts and marts, with what they say of every measure and the limits they judge by filled in.

The eight measures are declared once (measures.py). Where a SELECT says something of each of them, its file says it once, as
a name in braces on a line of its own, and gets one line a measure here:

    {sums_of_measures}      CAST(SUM(sent) AS BIGINT) AS sent,
                            CAST(SUM(delivered) AS BIGINT) AS delivered, ...

A limit (limits.py) stands as its name in braces anywhere: {warm_up_days}.

Belongs here: those forms, reading the files. Does not belong here: the measures, the limits, the SELECTs (sql/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from penguinmails.olap.limits import LIMITS
from penguinmails.olap.measures import MEASURES, Measure
from penguinmails.stack.sql import read_sql

_PLACE = re.compile(r"^(?P<indent> *)\{(?P<form>\w+)\}", re.MULTILINE)
_LIMIT = re.compile(rf"\{{({'|'.join(LIMITS)})\}}")


@dataclass(frozen=True)
class _Form:
    """What is said of each measure, and what stands between two of them."""

    text: str
    between: str = ","

    def of(self, measure: Measure) -> str:
        return self.text.format(name=measure.name, event_type=measure.event_type, first_time=measure.first_time)


_FORMS = {
    "first_times_of_event_types": _Form("MIN(occurred_at) FILTER (WHERE event_type = '{event_type}') AS {first_time}"),
    "first_times": _Form("first_times.{first_time}"),
    "event_types": _Form("('{event_type}')"),
    "event_type_names": _Form("'{event_type}'"),
    "first_time_by_event_type": _Form("WHEN '{event_type}' THEN {first_time}", between=""),
    "counts_of_touches": _Form(
        "CAST(COALESCE(SUM(sign) FILTER (WHERE event_type = '{event_type}'), 0) AS BIGINT) AS {name}"
    ),
    "counts_of_messages": _Form(
        "CAST(COALESCE(SUM(sign) FILTER (WHERE {first_time} IS NOT NULL), 0) AS BIGINT) AS {name}"
    ),
    "sums_of_measures": _Form("CAST(SUM({name}) AS BIGINT) AS {name}"),
    "counts": _Form("counts.{name}"),
    "counts_or_zero": _Form("COALESCE(counts.{name}, 0) AS {name}"),
}


def read_select(path: Path) -> str:
    """Returns the SELECT of one of the project's own files, complete.

    Raises:
        KeyError: the file names a form that is not defined.
    """
    return with_measures(with_limits(read_sql(path))).strip()


def with_measures(select: str) -> str:
    """Returns a SELECT in which every form in braces is written out, one line a measure."""
    return _PLACE.sub(_written_out, select)


def with_limits(select: str) -> str:
    """Returns a SELECT in which every limit in braces is its number."""
    return _LIMIT.sub(lambda place: f"{LIMITS[place[1]]:g}", select)


def _written_out(place: re.Match[str]) -> str:
    form, indent = _FORMS[place["form"]], place["indent"]
    return indent + f"{form.between}\n{indent}".join(form.of(measure) for measure in MEASURES)
