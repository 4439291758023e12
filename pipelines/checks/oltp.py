"""Checks of the OLTP tier: the live database is what is declared, and its partitions are as they must be."""

import dagster as dg

from penguinmails.pipelines.assets.oltp import SCHEMA
from penguinmails.pipelines.resources import Platform

_SHOWN = 10


@dg.asset_check(
    asset=SCHEMA,
    blocking=True,
    description="Tables, columns, types, keys, comments and forced row level security equal the declarations.",
)
def schema_is_as_declared(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
    from penguinmails.oltp.connections import Role, connect
    from penguinmails.oltp.schema import differences

    with connect(platform.stores.oltp_url, Role.OWNER) as connection:
        found = differences(connection)
    shown = "; ".join(f"{each.table}.{each.column} {each.problem}" for each in found[:_SHOWN])
    return dg.AssetCheckResult(
        passed=not found,
        metadata={"differences": len(found)},
        description=f"{shown}. Run 'penguinmails oltp migrate', or find out who changed the database."
        if found
        else None,
    )


CHECKS = [schema_is_as_declared]
