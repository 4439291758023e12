"""How the database serves the application's and the staff's statements: plans, not times.

Belongs here: running EXPLAIN as who asks and comparing it with statements.EXPECTATIONS. Does not belong here: the
expectations. Statements that write are rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.context_seals import Signer, signer_of
from penguinmails.oltp.statements import EXPECTATIONS, QUERIES, Expectation
from penguinmails.oltp.tenancy import Session, tenant_session
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_ASK = Queries(Path(__file__).parent / "explaining.sql")
_FIXED_VALUES = {"status": "sending", "roles": ["member"], "name": "Explained"}
_SMALL_TABLE_PAGES = 8
"""In a table of so few pages, reading all of it is as good as any index (partitions of months to come are empty)."""
_ACTIVE = {"status": "active"}


@dataclass(frozen=True)
class Explanation:
    """How one statement was served.

    Args:
        statement: its name.
        indexes: indexes that were used, of partitions under the name of the whole table's.
        pages: pages of 8 KiB it touched.
        discarded_rows: rows it read and threw away.
        problems: in what it does not keep to its expectation.
    """

    statement: str
    indexes: tuple[str, ...]
    pages: int
    discarded_rows: int
    problems: tuple[str, ...]


class _Explained(Exception):
    """Ends a session whose statement was only tried, so that what it wrote is undone; carries the plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        self.plan = plan


def explain_all(stores: Stores, *, as_if_large: bool = False) -> list[Explanation]:
    """Runs every statement as the busiest tenant, staff's over all tenants; returns how each was served, writes nothing.

    Args:
        stores: where the OLTP database is.
        as_if_large: rule out reading whole tables, which is right while they are small, to see what a large one gets.

    Raises:
        InputError: there is no tenant with messages of a campaign.
        ServerError: the database cannot be reached or is not migrated.
    """
    signer = signer_of(stores)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        tenant_id, values = _samples(connection)
        wholes = {str(part): str(whole) for part, whole in connection.execute(_ASK["index_of_partition"])}
        small = {str(name) for (name,) in connection.execute(_ASK["small_tables"], {"pages": _SMALL_TABLE_PAGES})}
    with (
        connect(stores.oltp_app_url) as app,
        connect(stores.oltp_url, Role.STAFF) as staff,
        connect(stores.oltp_url, Role.PLATFORM) as platform,
    ):
        connections = {Role.APP: app, Role.STAFF: staff, Role.PLATFORM: platform}
        plans = {
            name: _plan(
                connections[expected.role],
                tenant_id,
                name,
                values,
                expected.role,
                as_if_large=as_if_large,
                signer=signer,
            )
            for name, expected in EXPECTATIONS.items()
        }
    return [_judged(name, plan, EXPECTATIONS[name], wholes, small) for name, plan in plans.items()]


def _samples(connection: Connection) -> tuple[UUID, dict[str, Any]]:
    row = connection.execute(_ASK["busiest_tenant"]).fetchone()
    with connection.cursor(row_factory=dict_row) as cursor:
        values = cursor.execute(_ASK["sample_values"], {"tenant_id": row[0]}).fetchone() if row else None
    if row is None or values is None:
        raise InputError("OLTP database", "has no tenant with campaigns", "Run 'penguinmails oltp seed' first.")
    return row[0], values | _FIXED_VALUES | {"id": values["campaign_id"]}


def _plan(
    connection: Connection,
    tenant_id: UUID,
    name: str,
    values: dict[str, Any],
    role: Role,
    *,
    as_if_large: bool,
    signer: Signer | None,
) -> dict[str, Any]:
    own = values | (_ACTIVE if name.startswith(("leads", "set_subscription")) else {})
    for _ in range(2):  # the first one of a connection also reads the catalogue
        bound = (
            tenant_session(connection, tenant_id, values["user_id"], signer=signer)
            if role is Role.APP
            else _alone(connection)
        )
        try:
            with bound as session:
                if as_if_large:
                    session.execute(_ASK["as_if_large"])
                _explain_and_undo(session, name, own)
        except _Explained as explained:
            plan = explained.plan
    return plan


@contextmanager
def _alone(connection: Connection) -> Iterator[Session]:
    with connection.transaction():
        yield Session(connection)


def _explain_and_undo(session: Session, name: str, values: dict[str, Any]) -> None:
    """Prepares the statement, so that its plan is the one that the application's prepared statement gets."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found["name"] not in names:
            names.append(found["name"])
        return f"${names.index(found['name']) + 1}"

    prepared = re.sub(r"%\((?P<name>\w+)\)s", number, QUERIES[name]).replace("%%", "%")
    session.execute(sql.SQL("PREPARE explained AS {}").format(sql.SQL(prepared)))
    given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
    asked = sql.SQL("EXECUTE explained ({})").format(given) if names else sql.SQL("EXECUTE explained")
    options = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ")
    row = session.execute(options + asked, steady_plan=EXPECTATIONS[name].steady_plan).fetchone()
    session.execute("DEALLOCATE explained")
    raise _Explained(row[0][0]["Plan"] if row else {})


def _judged(
    name: str, plan: dict[str, Any], expectation: Expectation, wholes: dict[str, str], small: set[str]
) -> Explanation:
    nodes = list(_nodes(plan))
    large = [node for node in nodes if not {node.get("Relation Name"), node.get("Index Name")} & small]
    pages = _pages(plan)
    discarded = sum(
        int(node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * int(node["Actual Loops"])
        for node in large
    )
    read_whole = sorted({node["Relation Name"] for node in large if node["Node Type"] == "Seq Scan"})
    strangers = sorted(index for index in _indexes(large, wholes) if not index.startswith(expectation.indexes or ""))
    problems = [f"reads all of {table}" for table in read_whole] + [f"uses {index}" for index in strangers]
    used = _indexes(nodes, wholes)
    if expectation.indexes and not used and len(large) == len(nodes):
        problems.append("uses no index")
    if pages > expectation.max_pages:
        problems.append(f"touches {pages} pages, may touch {expectation.max_pages}")
    if discarded > expectation.max_discarded_rows:
        problems.append(f"throws {discarded} rows away, may throw {expectation.max_discarded_rows}")
    return Explanation(name, tuple(sorted(used)), pages, discarded, tuple(problems))


def _indexes(nodes: list[dict[str, Any]], wholes: dict[str, str]) -> set[str]:
    """Names of the indexes that these nodes read, those of partitions under the name of the whole table's."""
    return {wholes.get(node["Index Name"], node["Index Name"]) for node in nodes if node.get("Index Name")}


def _pages(node: dict[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0)) + int(node.get("Shared Read Blocks", 0))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
