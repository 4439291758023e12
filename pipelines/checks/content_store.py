"""Checks of the content tier: references lead to messages, packs have their objects, nothing is there that should be gone."""

from datetime import timedelta

import dagster as dg

from penguinmails.pipelines import metadata
from penguinmails.pipelines.assets.content_store import PACKS
from penguinmails.pipelines.resources import Platform
from penguinmails.stack.clock import utc_now
from penguinmails.stack.ports import port

_TWO_NIGHTS = timedelta(days=2)
_SAMPLED = 100
"""Messages read back each day by chance; content/verification reads every one in its turn."""


@dg.asset_check(asset=PACKS, description="Every storage key that the OLTP tier holds is in the index.")
def references_lead_to_messages(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_references

    return metadata.check_result(check_references(platform.stores, port("message_bodies")(platform.stores)))


@dg.asset_check(asset=PACKS, description="Every live pack has its object, of the size it must have.")
def packs_have_their_objects(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_packs

    return metadata.check_result(check_packs(platform.stores))


@dg.asset_check(asset=PACKS, description="Messages drawn at random are read back whole and compared by their hash.")
def sampled_messages_are_whole(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_sample

    return metadata.check_result(check_sample(platform.stores, messages=_SAMPLED))


@dg.asset_check(asset=PACKS, description="No pack is left that nothing points to.")
def no_pack_is_orphaned(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_orphans
    from penguinmails.content_store.compaction import DELETE_AFTER

    # The sweep of each hand-over and each night takes them; two days are two nights.
    return metadata.check_result(check_orphans(platform.stores, clock=lambda: utc_now() - DELETE_AFTER - _TWO_NIGHTS))


@dg.asset_check(asset=PACKS, description="Nothing that is past its time is still there, unless a legal hold keeps it.")
def nothing_expired_is_present(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.content_store.checking import check_expired

    return metadata.check_result(check_expired(platform.stores, clock=utc_now, late=_TWO_NIGHTS))


CHECKS = [
    references_lead_to_messages,
    packs_have_their_objects,
    sampled_messages_are_whole,
    no_pack_is_orphaned,
    nothing_expired_is_present,
]
