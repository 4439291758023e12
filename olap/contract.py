"""The contract of the published file: every mart is there, with the columns, types, comments and keys it declares.

Belongs here: holding a published file against the declarations. Does not belong here: the declarations (marts.py), whether
the figures are right (reconcile.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from penguinmails.olap.build import SQL
from penguinmails.olap.declarations import Mart
from penguinmails.olap.marts import MARTS
from penguinmails.olap.reading import open_marts
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(SQL / "contract.sql")


def broken_promises(stores: Stores) -> dict[str, tuple[str, ...]]:
    """Returns, for every declared mart, what the newest published file does otherwise; nothing where it keeps its word.

    Raises:
        NothingPublished: nothing was published yet.
    """
    with open_marts(stores) as connection:
        return {mart.name: tuple(_broken(connection, mart)) for mart in MARTS}


def _broken(connection: duckdb.DuckDBPyConnection, mart: Mart) -> Iterator[str]:
    found = {
        name: (type_, comment)
        for name, type_, comment in connection.execute(_QUERIES["columns"], {"mart": mart.name}).fetchall()
    }
    if not found:
        yield "it is not there"
        return
    declared = {column.name: (column.type, column.comment) for column in mart.columns}
    yield from (f"column {name} is not there" for name in declared.keys() - found.keys())
    yield from (f"column {name} is not declared" for name in found.keys() - declared.keys())
    for name in declared.keys() & found.keys():
        if declared[name][0] != found[name][0]:
            yield f"column {name} is {found[name][0]}, declared {declared[name][0]}"
        if declared[name][1] != found[name][1]:
            yield f"column {name} is described otherwise"
    if set(mart.key) <= found.keys():
        duplicates = connection.execute(
            _QUERIES["duplicate_keys"].format(mart=mart.name, key=", ".join(mart.key))
        ).fetchall()
        if duplicates != [(0,)]:
            yield f"{duplicates[0][0]} keys are there more than once"
