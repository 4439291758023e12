"""Handlers of the analytics queues: they have the marts brought up to date.

The marts are rolled up and published as a whole, so one job does it for all that were enqueued before it: a job whose moment
the published marts already cover has nothing left to do. Each is noted in `analytics_jobs`, in the transaction that completes
it.

Belongs here: triggering the roll-up. Does not belong here: what it does (olap/), the nightly roll-up (assets/olap.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from penguinmails.olap.errors import NothingPublished
from penguinmails.olap.extraction import Days
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts
from penguinmails.olap.roll_up import roll_up
from penguinmails.queue.analytics_jobs import record_completed
from penguinmails.queue.connections import connect
from penguinmails.queue.handlers import Handler, JobContext
from penguinmails.stack.clock import utc_now
from penguinmails.stack.stores import Stores, resolve

_WAIT_SECONDS = 200.0
"""For another roll-up to end; within the 300 seconds a job may take."""
PayloadModel = TypeVar("PayloadModel", bound=BaseModel)


class DayToAggregate(BaseModel):
    """Payload of `analytics:daily-aggregate`.

    Args:
        day: UTC day that is read anew and whole, so that deletions leave it too; none takes what is new, of any day.
    """

    model_config = ConfigDict(extra="forbid")

    day: date | None = None


class CampaignToAggregate(BaseModel):
    """Payload of `analytics:campaign-aggregate`: whose figures are wanted; all others come along."""

    model_config = ConfigDict(extra="forbid")

    campaign_id: UUID | None = None


class PeriodToBill(BaseModel):
    """Payload of `analytics:billing-calculate`: whose figures are wanted; all others come along."""

    model_config = ConfigDict(extra="forbid")

    subscription_id: UUID | None = None


def aggregate_day(payload: DayToAggregate, context: JobContext) -> None:
    """Rolls up what is new, or one day anew, and publishes the marts."""
    days = Days(payload.day, payload.day + timedelta(days=1)) if payload.day else None
    _bring_up_to_date(context, days)


def aggregate(_: BaseModel, context: JobContext) -> None:
    """Rolls up what is new and publishes the marts."""
    _bring_up_to_date(context, None)


DAILY = Handler("analytics:daily-aggregate", DayToAggregate, aggregate_day)
CAMPAIGN = Handler("analytics:campaign-aggregate", CampaignToAggregate, aggregate)
BILLING = Handler("analytics:billing-calculate", PeriodToBill, aggregate)


def _bring_up_to_date(context: JobContext, days: Days | None) -> None:
    stores = resolve()
    asked_at = utc_now() - timedelta(seconds=max(0.0, context.job.waited_seconds))
    if days is not None or not _covers(stores, asked_at):
        roll_up(stores, wait_seconds=_WAIT_SECONDS, days=days)
        publish(stores, wait_seconds=_WAIT_SECONDS)
    with connect(stores.queue_url) as connection, connection.transaction():
        record_completed(connection, context.job.id)
        context.finish_within(connection)


def _covers(stores: Stores, moment: datetime) -> bool:
    """Whether the published marts hold everything committed before a moment."""
    try:
        marts = open_marts(stores)
    except NothingPublished:
        return False
    with marts:
        row = marts.execute("SELECT as_of FROM _meta").fetchone()
    return row is not None and row[0].replace(tzinfo=UTC) > moment
