"""Checks of the OLTP tier: its own questions about the whole database, each a check."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from penguinmails.pipelines.assets.oltp import SCHEMA
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now

if TYPE_CHECKING:
    from penguinmails.oltp.connections import Connection
    from penguinmails.stack.findings import Finding


def _check(
    name: str, description: str, question: "Callable[[Connection, datetime], Finding]", *, asset: dg.AssetKey = SCHEMA
) -> dg.AssetChecksDefinition:
    @dg.asset_check(name=name, asset=asset, description=description)
    def check(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
        from penguinmails.oltp.connections import connect

        with connect(platform.stores.oltp_url) as connection:  # as owner, row level security would hide every row
            finding = question(connection, utc_now())
        return dg.AssetCheckResult(
            passed=finding.ok,
            metadata={"seen": finding.detail},
            description=None if finding.ok else f"{finding.detail}. {finding.remedy}",
        )

    return check


def _schema(connection: "Connection", _: datetime) -> "Finding":
    from penguinmails.oltp.checking import check_schema

    return check_schema(connection)


def _isolation(connection: "Connection", _: datetime) -> "Finding":
    from penguinmails.oltp.checking import check_isolation

    return check_isolation(connection)


def _partitions_ahead(connection: "Connection", now: datetime) -> "Finding":
    from penguinmails.oltp.checking import check_partitions_ahead

    return check_partitions_ahead(connection, now.date())


def _default_partitions(connection: "Connection", _: datetime) -> "Finding":
    from penguinmails.oltp.checking import check_default_partitions

    return check_default_partitions(connection)


def _references(connection: "Connection", now: datetime) -> "Finding":
    from penguinmails.oltp.checking import check_references

    return check_references(connection, now)


CHECKS = [
    _check(
        "schema_is_as_declared",
        "Tables, columns and comments equal the declarations; defaults, rules, indexes, policies, rights and functions "
        "the contract.",
        _schema,
    ),
    _check(
        "every_table_is_isolated",
        "Row level security is forced on every table and partition, and no sample of the planner tells values.",
        _isolation,
    ),
    _check("partitions_are_made_ahead", "The months to come are there.", _partitions_ahead),
    _check("default_partitions_are_empty", "No row found its month missing.", _default_partitions),
    _check(
        "events_belong_to_messages",
        "Events, which have no foreign keys, belong to messages of their tenant.",
        _references,
        asset=dg.AssetKey(["oltp", "email_events"]),
    ),
]
