"""What row level security costs: the same statements as the application, and past the policies with the tenant spelt out.

    python bench/oltp/row_security_overhead.py [--rounds 200]

Both ways run in the same session in turns; the smallest time of each counts, because everything else is other people's work.
A statement whose plan is steady (statements.py) has it both ways; "planned each time" says what it costs otherwise. Needs a
seeded database. Takes ten seconds. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.stack.stores import resolve

SAMPLE = """
    SELECT messages.tenant_id, messages.id AS message_id, messages.lead_id, messages.email_account_id, leads.email
    FROM email_messages AS messages
    JOIN leads ON leads.tenant_id = messages.tenant_id AND leads.id = messages.lead_id
    WHERE messages.direction = 'inbound'
    LIMIT 1
"""
MESSAGE = "SELECT * FROM email_messages WHERE id = %(message_id)s{tenant}"
INBOX = (
    "SELECT id, from_email, subject FROM email_messages WHERE email_account_id = %(email_account_id)s "
    "AND direction = 'inbound'{tenant} ORDER BY id DESC LIMIT 50"
)
STATEMENTS = {
    "point by id": (MESSAGE, True),
    "point by id, planned each time": (MESSAGE, False),
    "point by address": ("SELECT * FROM leads WHERE email = %(email)s{tenant}", False),
    "list of 50": (
        "SELECT id, email FROM leads WHERE status = 'active'{tenant} ORDER BY updated DESC, id DESC LIMIT 50",
        False,
    ),
    "inbox of 50": (INBOX, True),
}
STEADY = "SELECT set_config('enable_sort', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)"


def smallest(
    connection: Connection, role: str, statement: str, values: dict[str, Any], rounds: int, *, steady: bool
) -> float:
    """Smallest time of one execution, in microseconds, with the plan kept by the server."""
    best = float("inf")
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", [str(values["tenant_id"])])
        if steady:
            connection.execute(STEADY)
        for _ in range(rounds):
            began = time.perf_counter()
            connection.execute(sql.SQL(statement), values, prepare=True).fetchall()  # type: ignore[arg-type]
            best = min(best, time.perf_counter() - began)
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    stores = resolve()
    found = {}
    with connect(stores.oltp_url) as connection:
        with connection.cursor(row_factory=dict_row) as cursor:
            values = cursor.execute(SAMPLE).fetchone() or {}
        for name, (statement, steady) in STATEMENTS.items():
            held = open_ = float("inf")
            for _ in range(5):
                held = min(
                    held, smallest(connection, Role.APP, statement.format(tenant=""), values, rounds, steady=steady)
                )
                spelt = statement.format(tenant=" AND tenant_id = %(tenant_id)s")
                open_ = min(open_, smallest(connection, Role.LOADER, spelt, values, rounds, steady=steady))
            found[name] = {
                "with_microseconds": round(held, 1),
                "without_microseconds": round(open_, 1),
                "overhead_percent": round((held / open_ - 1) * 100, 1),
            }
    print(json.dumps({"statements": found, "aim": {"overhead_percent": 10}}, indent=1))


if __name__ == "__main__":
    main()
