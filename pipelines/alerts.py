"""Telling people what is broken, once: one sensor for failed runs, one for failed checks (a failed check leaves its run green).

Belongs here: the two sensors and the ways an alert can go out. Does not belong here: what is checked, which limits hold.
An alert holds names, ids and our own words; never an exception's text, which could hold somebody's data.
"""

from __future__ import annotations

import json
import logging
import smtplib
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

import dagster as dg
from pydantic import SecretStr

from penguinmails.stack.settings import Settings

_SECONDS = 10
_CHECKS_EACH_TICK = 100
_SHOWN = 20
_REMIND_SECONDS = 6 * 3_600.0
"""A check that goes on failing is told again after this long."""


@dataclass(frozen=True)
class Alert:
    """What people are told.

    Args:
        title: one line.
        lines: what failed, each with its way out.
    """

    title: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        shown = list(self.lines[:_SHOWN])
        if len(self.lines) > _SHOWN:
            shown.append(f"and {len(self.lines) - _SHOWN} more")
        return "\n".join([self.title, *shown])


class Notifier(Protocol):
    """One way for an alert to go out. Raises OSError (or a subclass) when it did not."""

    def send(self, alert: Alert) -> None: ...


@dataclass(frozen=True)
class Webhook:
    """POSTs the alert as JSON (`text` is what chat services show)."""

    url: SecretStr

    def send(self, alert: Alert) -> None:
        body = json.dumps({"text": alert.text, **asdict(alert)}).encode()
        request = urllib.request.Request(  # noqa: S310 - the operator's own setting, checked to be http(s)
            self.url.get_secret_value(), data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            pass


@dataclass(frozen=True)
class Mail:
    """Sends the alert by e-mail.

    Args:
        server: smtp://user:password@host:port, or smtps:// for TLS from the start.
        sender, recipient: addresses.
    """

    server: SecretStr
    sender: str
    recipient: str

    def send(self, alert: Alert) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, self.recipient, alert.title
        message.set_content(alert.text)
        address = urlsplit(self.server.get_secret_value())
        opened = smtplib.SMTP_SSL if address.scheme == "smtps" else smtplib.SMTP
        with opened(address.hostname or "localhost", address.port or 0, timeout=_SECONDS) as connection:
            if address.username:
                connection.login(unquote(address.username), unquote(address.password or ""))
            connection.send_message(message)


def notifiers(settings: Settings) -> list[Notifier]:
    """Returns the ways that the settings name; none means that alerts are only logged."""
    found: list[Notifier] = []
    if settings.alert_webhook_url:
        found.append(Webhook(settings.alert_webhook_url))
    if settings.alert_smtp_url and settings.alert_email:
        found.append(Mail(settings.alert_smtp_url, settings.alert_email, settings.alert_email))
    return found


def send(alert: Alert, ways: Sequence[Notifier], log: logging.Logger) -> None:
    """Sends the alert every way, and logs it.

    Raises:
        OSError: a way failed; the others were tried. The sensor's tick fails and the alert is tried again.
    """
    log.error(alert.text)
    failures = []
    for way in ways:
        try:
            way.send(alert)
        except OSError as error:  # of urllib and smtplib alike
            failures.append(f"{type(way).__name__}: {type(error).__name__}")
    if failures:
        raise OSError(f"an alert was not sent ({', '.join(failures)})")


@dg.run_failure_sensor(
    name="failed_runs",
    description="Tells people of every failed run: which job, which steps, where to look.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    steps = [f"step {event.step_key} failed" for event in context.get_step_failure_events()]
    alert = Alert(f"Run of {run.job_name} failed", (*steps, f"look at run {run.run_id} in Dagster's UI"))
    send(alert, notifiers(Settings.load()), context.log)


@dg.sensor(
    name="failed_checks",
    description="Tells people of every check that begins to fail, with its recovery text, again while it goes on failing, and "
    "of its end.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
)
def failed_checks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    instance = context.instance
    newest = instance.event_log_storage.get_maximum_record_id() or 0
    if context.cursor is None:  # the first look: what failed before anybody listened is history
        context.update_cursor(FailingChecks(newest).as_cursor())
        return dg.SkipReason("Listening from now on.")
    known = FailingChecks.of_cursor(context.cursor)
    records = instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=known.seen_until),
        limit=_CHECKS_EACH_TICK,
        ascending=True,
    )
    failed: dict[str, str] = {}
    recovered: set[str] = set()
    for record in records:
        evaluation = record.event_log_entry.dagster_event.event_specific_data  # type: ignore[union-attr]
        if isinstance(evaluation, dg.AssetCheckEvaluation):
            name = f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}"
            if not known.takes_down(name, passed=evaluation.passed, at=record.timestamp):
                continue
            if evaluation.passed:
                failed.pop(name, None)
                recovered.add(name)
            else:
                recovered.discard(name)
                failed[name] = f"{evaluation.severity.value}: {name}: {evaluation.description or ''}"
    ways = notifiers(Settings.load())
    if failed:
        send(Alert(f"{len(failed)} checks failed", tuple(failed.values())), ways, context.log)
    if recovered:
        send(Alert(f"{len(recovered)} checks pass again", tuple(sorted(recovered))), ways, context.log)
    known.seen_until = records[-1].storage_id if records else newest
    context.update_cursor(known.as_cursor())
    return dg.SkipReason(
        f"{len(records)} checks seen, {len(failed)} told as failed, {len(recovered)} as passing again."
    )


@dataclass
class FailingChecks:
    """Which checks are known to fail, and since when people know (seconds since 1970): the sensor's cursor.

    A check that fails every five minutes is told once, and then every `_REMIND_SECONDS`.
    """

    seen_until: int
    told_at: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_cursor(cls, cursor: str) -> FailingChecks:
        """Reads a cursor, also one of the time when it was the number alone."""
        return cls(int(cursor)) if cursor.isdigit() else cls(**json.loads(cursor))

    def as_cursor(self) -> str:
        return json.dumps(asdict(self))

    def takes_down(self, name: str, *, passed: bool, at: float) -> bool:
        """Takes down how a check went; returns whether people are to be told."""
        if passed:
            return self.told_at.pop(name, None) is not None
        if at - self.told_at.get(name, 0.0) < _REMIND_SECONDS:
            return False
        self.told_at[name] = at
        return True


SENSORS = [failed_runs, failed_checks]
