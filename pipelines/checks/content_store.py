"""Checks of the content tier: references lead to messages, packs have their objects, sampled messages are what they were."""

from typing import TYPE_CHECKING

import dagster as dg

from penguinmails.pipelines.assets.content_store import PACKS
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.ports import port

if TYPE_CHECKING:
    from penguinmails.content_store.checking import CheckReport


_SAMPLED = 100
"""Messages read back each day; chance reaches every pack sooner or later, `content verify` reads them all."""


@dg.asset_check(asset=PACKS, description="Every storage key that the OLTP tier holds is in the index.")
def references_lead_to_messages(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_references

    return _result(check_references(platform.stores, port("message_bodies")(platform.stores)))


@dg.asset_check(asset=PACKS, description="Every live pack has its object, of the size it must have.")
def packs_have_their_objects(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_packs

    return _result(check_packs(platform.stores))


@dg.asset_check(asset=PACKS, description="Messages drawn at random are read back whole and compared by their hash.")
def sampled_messages_are_whole(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_sample

    return _result(check_sample(platform.stores, messages=_SAMPLED))


def _result(report: "CheckReport") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=report.ok,
        metadata={"looked_at": report.looked_at, "bad": report.bad, "examples": ", ".join(report.examples)},
        description=None if report.ok else f"{report.bad} of {report.looked_at} are bad. {report.remedy}",
    )


CHECKS = [references_lead_to_messages, packs_have_their_objects, sampled_messages_are_whole]
