"""The eight measures that every mart about mail shares.

A measure counts messages, not clicks: a message counts once, at the first time the thing happened to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from penguinmails.olap.columns import Column


@dataclass(frozen=True)
class Measure:
    """One measure: the events it counts and what it is called in the marts."""

    name: str
    event_type: str
    description: str

    @property
    def first_time(self) -> str:
        """Column of message_facts with the moment of the first such event of a message."""
        return f"{self.event_type}_at"

    @property
    def column(self) -> Column:
        return Column(
            self.name,
            "BIGINT",
            self.description,
            "messages",
            f"first '{self.event_type}' in email_events of each message",
        )


MEASURES = (
    Measure("sent", "sent", "Messages sent."),
    Measure("delivered", "delivered", "Messages accepted by the recipient's server."),
    Measure("opened_tracked", "opened", "Messages opened, as far as tracking sees it; each once."),
    Measure("clicked_tracked", "clicked", "Messages in which a link was clicked; each once."),
    Measure("replied", "replied", "Messages answered; each once."),
    Measure("bounced", "bounced", "Messages returned as undeliverable."),
    Measure("unsubscribed", "unsubscribed", "Messages through which the recipient unsubscribed."),
    Measure("spam_complaints", "complained", "Messages the recipient reported as spam."),
)

MEASURE_COLUMNS = tuple(measure.column for measure in MEASURES)
