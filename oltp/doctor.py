"""What `penguinmails doctor` asks the OLTP tier.

Belongs here: the server and the logins. Does not belong here: what is in the database (checking.py), mending anything.
"""

from __future__ import annotations

import psycopg

from penguinmails.oltp.checking import check_database
from penguinmails.oltp.connections import Connection, Role, connect, take_role
from penguinmails.oltp.context_seals import signer_of
from penguinmails.oltp.contexts import is_believed
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.findings import Finding
from penguinmails.stack.stores import Stores

OLDEST_SERVER = 150000
"""PostgreSQL 15: ON DELETE SET NULL (column) came with it."""


def examine(stores: Stores, *, clock: Clock = utc_now) -> list[Finding]:
    """Looks at server, schema, isolation, partitions, references, the application's login and the key of its contexts."""
    try:
        with connect(stores.oltp_url) as connection:
            version = _version(connection)
            take_role(connection, Role.LOADER)  # says whether the database is migrated at all
            connection.execute("RESET ROLE")
            found = [version, *check_database(connection, clock()), _application_login(stores)]
        return found + _own_key(stores)
    except PlatformError as error:
        return [Finding(error.thing, ok=False, detail=error.problem, remedy=error.remedy)]


def _version(connection: Connection) -> Finding:
    version = connection.info.server_version
    ok = version >= OLDEST_SERVER
    return Finding("OLTP server", ok, f"PostgreSQL {version // 10000}", "" if ok else "Use PostgreSQL 15 or newer.")


def _application_login(stores: Stores) -> Finding:
    name = "OLTP application login"
    with connect(stores.oltp_app_url) as connection:
        try:
            row = connection.execute("SELECT EXISTS (SELECT FROM leads)").fetchone()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
            return Finding(name, ok=False, detail="may not read", remedy="Run 'penguinmails oltp migrate'.")
    blind = row is not None and not row[0]
    remedy = "" if blind else "Set PENGUINMAILS_OLTP_APP_URL to a login without BYPASSRLS and without ownership."
    return Finding(name, blind, "sees nothing without a tenant" if blind else "sees rows without a tenant", remedy)


def _own_key(stores: Stores) -> list[Finding]:
    """What this machine's key signs is believed; nothing is said where there is no key."""
    signer = signer_of(stores)
    if signer is None:
        return []
    believed = is_believed(stores, signer)
    remedy = "" if believed else "Compare keys and clocks: penguinmails oltp contexts status"
    detail = f"{signer.key.key_id}, what it signs is {'' if believed else 'not '}believed"
    return [Finding("OLTP key of contexts", believed, detail, remedy)]
