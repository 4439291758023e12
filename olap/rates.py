"""The views of rates, made from the semantic layer (metrics.py): one a grain, always of the messages sent in a cohort.

Rates of activity days would divide today's replies by today's sendings, which are not the same messages; so every rate
here follows the messages sent on a day, whenever something became of them.
"""

from __future__ import annotations

from penguinmails.olap.columns import Column
from penguinmails.olap.declarations import Kind, Mart
from penguinmails.olap.facts import EMAIL_COHORT_DAILY
from penguinmails.olap.measures import MEASURE_COLUMNS
from penguinmails.olap.metrics import METRICS
from penguinmails.olap.selects import with_measures

_COLUMNS = {column.name: column for column in EMAIL_COHORT_DAILY.columns}
_SELECT = """SELECT
    {key},
    {{sums_of_measures}},
    {rates}
FROM email_cohort_daily
WHERE direction = 'outbound' AND message_type <> 'warmup'{only}
GROUP BY {key}"""


def _rates(name: str, grain: str, *key: str) -> Mart:
    return Mart(
        name=name,
        kind=Kind.VIEW,
        grain=grain,
        description=f"Counts and rates of the messages sent, by {grain}. Rates are defined in the table metrics.",
        key=key,
        columns=(
            *(_required(_COLUMNS[part]) for part in key),
            *MEASURE_COLUMNS,
            *(metric.column for metric in METRICS),
        ),
        depends_on=(EMAIL_COHORT_DAILY.name,),
        select=with_measures(
            _SELECT.format(
                key=", ".join(key),
                rates=", ".join(f"{metric.expression} AS {metric.name}" for metric in METRICS),
                only="".join(f" AND {part} IS NOT NULL" for part in key),
            )
        ),
    )


def _required(column: Column) -> Column:
    return Column(column.name, column.type, column.description, column.unit, column.source)


RATES = (
    _rates("tenant_rates", "tenant x day of sending", "tenant_id", "sent_day"),
    _rates("campaign_rates", "tenant x campaign", "tenant_id", "campaign_id"),
    _rates("sequence_step_rates", "tenant x step", "tenant_id", "campaign_sequence_step_id"),
    _rates("mailbox_rates", "tenant x mailbox", "tenant_id", "email_account_id"),
)
