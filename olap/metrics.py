"""The rates, each defined once, with its numerator, denominator and unit.

Marts store counts only, because counts add up and rates do not. The views of rates (rates.py), the semantic layer
(semantic_layer.py), the report, the docs and tests come from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from penguinmails.olap.columns import Column


@dataclass(frozen=True)
class Metric:
    """One rate.

    Args:
        name: of the column in the views of rates.
        numerator: measure above the line.
        denominator: measure below the line.
        description: one sentence for people.
    """

    name: str
    numerator: str
    denominator: str
    description: str

    @property
    def unit(self) -> str:
        return "percent"

    @property
    def formula(self) -> str:
        """For people."""
        return f"100 x {self.numerator} / {self.denominator}"

    @property
    def expression(self) -> str:
        """SQL over counts of one group; empty when the denominator is 0."""
        return f"ROUND(100.0 * SUM({self.numerator}) / NULLIF(SUM({self.denominator}), 0), 4)"

    @property
    def column(self) -> Column:
        return Column(self.name, "DOUBLE", self.description, self.unit, self.formula, nullable=True)


METRICS = (
    Metric("delivery_rate", "delivered", "sent", "Share of the messages sent that were accepted."),
    Metric("bounce_rate", "bounced", "sent", "Share of the messages sent that came back."),
    Metric("open_rate", "opened_tracked", "delivered", "Share of the delivered messages seen to be opened."),
    Metric("click_rate", "clicked_tracked", "delivered", "Share of the delivered messages with a click."),
    Metric("reply_rate", "replied", "delivered", "Share of the delivered messages that were answered."),
    Metric("unsubscribe_rate", "unsubscribed", "delivered", "Share of the delivered messages that led to leaving."),
    Metric("complaint_rate", "spam_complaints", "delivered", "Share of the delivered messages reported as spam."),
)
