"""The Grafana dashboard, made from the declared metrics and limits: `python -m penguinmails.queue.dashboard > file`.

Belongs here: panels. Does not belong here: figures (metrics.py, process_metrics.py), limits (thresholds.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import orjson

from penguinmails.queue.metrics import GAUGES, TOTALS
from penguinmails.queue.process_metrics import COUNTERS, HISTOGRAMS
from penguinmails.queue.thresholds import THRESHOLDS

_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3
_GAUGES_WITH_LIMITS = {
    "queue_latency_seconds": "oldest_ready_job",
    "queue_overdue_hand_offs": "overdue_hand_offs",
    "queue_missing_hand_offs": "drift",
    "redis_evicted_keys": "redis_evicted_keys",
    "reconciler_silent_seconds": "reconciler_silent",
    "queue_oldest_transaction_seconds": "oldest_transaction",
}


def dashboard() -> dict[str, Any]:
    """Returns the dashboard as Grafana imports it; it asks for the data source. One row of panels a kind of endpoint."""
    rows = {
        "The whole queue": [
            _panel(gauge.name, gauge.help, _max(gauge.name, gauge.labels), gauge.labels) for gauge in GAUGES
        ]
        + [_panel(f"{total.name}_total", total.help, f"max(rate({total.name}_total[5m]))", ()) for total in TOTALS]
    }
    for kind, counters in COUNTERS.items():
        rows[f"Each {kind}"] = [
            _panel(f"{each.name}_total", each.help, _rate(each.name, each.labels), each.labels) for each in counters
        ] + [
            _panel(f"{each.name} (p95)", each.help, _quantile(each.name, each.labels), each.labels)
            for each in HISTOGRAMS[kind]
        ]
    return {
        "title": "PenguinMails queue",
        "uid": "penguinmails-queue",
        "tags": ["penguinmails"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_placed(rows)),
    }


def _placed(rows: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yields the panels with their numbers and places, a heading above each row."""
    number, y = 0, 0
    for heading, panels in rows.items():
        number += 1
        place = {"x": 0, "y": y, "w": _WIDTH * _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": heading, "collapsed": False, "panels": [], "gridPos": place}
        y += 1
        for position, panel in enumerate(panels):
            number += 1
            row, column = divmod(position, _COLUMNS)
            yield panel | {
                "id": number,
                "gridPos": {"x": column * _WIDTH, "y": y + row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
            }
        y += -(-len(panels) // _COLUMNS) * _HEIGHT


def _max(name: str, labels: tuple[str, ...]) -> str:
    """Figures of the whole queue are the same from every endpoint: summed up they would count as often as it runs."""
    return f"max by ({', '.join(labels)}) ({name})" if labels else f"max({name})"


def _rate(name: str, labels: tuple[str, ...]) -> str:
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({name}_total[5m]))"


def _quantile(name: str, labels: tuple[str, ...]) -> str:
    by = ", ".join(("le", *labels))
    return f"histogram_quantile(0.95, sum by ({by}) (rate({name}_bucket[5m])))"


def _panel(name: str, description: str, expression: str, labels: tuple[str, ...]) -> dict[str, Any]:
    limits = {threshold.name: threshold.limit for threshold in THRESHOLDS}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    has_limit = name in _GAUGES_WITH_LIMITS
    if has_limit:
        steps.append({"color": "red", "value": limits[_GAUGES_WITH_LIMITS[name]]})
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return {
        "type": "timeseries",
        "title": name,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "targets": [{"refId": "A", "expr": expression, "legendFormat": legend or "__auto"}],
        "fieldConfig": {
            "defaults": {
                "unit": _unit(name),
                "min": 0,
                "custom": {"thresholdsStyle": {"mode": "line" if has_limit else "off"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
    }


def _unit(name: str) -> str:
    """Grafana's name of the unit that a metric's name says."""
    if "_total" in name or "_per_second" in name:
        return "ops"
    return "s" if "_seconds" in name else "bytes" if name.endswith("_bytes") else "short"


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(dashboard(), option=orjson.OPT_INDENT_2).decode() + "\n")
