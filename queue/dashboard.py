"""The Grafana dashboard, made from the declared metrics and limits: `python -m penguinmails.queue.dashboard > file`.

Belongs here: panels. Does not belong here: figures (metrics.py, process_metrics.py), limits (thresholds.py).
"""

from __future__ import annotations

import sys
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
    """Returns the dashboard as Grafana imports it; it asks for the Prometheus data source."""
    panels = [_panel(gauge.name, gauge.help, _max(gauge.name, gauge.labels)) for gauge in GAUGES]
    panels += [_panel(f"{total.name} (a second)", total.help, f"max(rate({total.name}_total[5m]))") for total in TOTALS]
    for kind, counters in COUNTERS.items():
        panels += [
            _panel(f"{counter.name} ({kind}, a second)", counter.help, _rate(counter.name, counter.labels))
            for counter in counters
        ]
    for kind, histograms in HISTOGRAMS.items():
        panels += [
            _panel(f"{each.name} ({kind}, p95)", each.help, _quantile(each.name, each.labels)) for each in histograms
        ]
    for position, panel in enumerate(panels):
        row, column = divmod(position, _COLUMNS)
        panel |= {"id": position + 1, "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}}
    return {
        "title": "PenguinMails queue",
        "uid": "penguinmails-queue",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


def _max(name: str, labels: tuple[str, ...]) -> str:
    """Figures of the whole queue are the same from every endpoint: summed up they would count as often as it runs."""
    return f"max by ({', '.join(labels)}) ({name})" if labels else f"max({name})"


def _rate(name: str, labels: tuple[str, ...]) -> str:
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({name}_total[5m]))"


def _quantile(name: str, labels: tuple[str, ...]) -> str:
    by = ", ".join(("le", *labels))
    return f"histogram_quantile(0.95, sum by ({by}) (rate({name}_bucket[5m])))"


def _panel(name: str, description: str, expression: str) -> dict[str, Any]:
    limits = {threshold.name: threshold.limit for threshold in THRESHOLDS}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if name in _GAUGES_WITH_LIMITS:
        steps.append({"color": "red", "value": limits[_GAUGES_WITH_LIMITS[name]]})
    return {
        "type": "timeseries",
        "title": name,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "targets": [{"refId": "A", "expr": expression}],
        "fieldConfig": {"defaults": {"thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
    }


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(dashboard(), option=orjson.OPT_INDENT_2).decode() + "\n")
