"""What row level security costs: the same statements as the application, and past the policies with the tenant spelt out.

    python bench/oltp/row_security_overhead.py [--rounds 200]

Three ways run in the same session in turns: past the policies, under them with contexts believed as they are set (open), and
under them with contexts believed for their proof (sealed). The smallest time of each counts, because everything else is other
people's work. A statement whose plan is steady (statements.py) has it all three ways; "planned each time" says what it costs
otherwise. Needs a seeded database, seals and opens it meanwhile, and leaves it as it was. Takes half a minute. Prints one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pooled_load import contexts_as
from psycopg import sql
from psycopg.rows import dict_row

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.context_seals import Signer, signer_of
from penguinmails.oltp.contexts import State
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
ENTER = """
    SELECT set_config('app.current_tenant_id', %s, true), set_config('app.current_user_id', '', true),
        set_config('app.context_seal', %s, true)
"""
TURNS = 5
PAST = "past the policies"


def smallest(
    connection: Connection,
    role: Role,
    statement: str,
    values: dict[str, Any],
    rounds: int,
    *,
    steady: bool,
    signer: Signer | None,
) -> float:
    """Smallest time of one execution, in microseconds, with the plan kept by the server."""
    best = float("inf")
    tenant = str(values["tenant_id"])
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        connection.execute(ENTER, [tenant, signer.seal(tenant, "") if signer else ""])
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
    best = {name: dict.fromkeys((PAST, *State), float("inf")) for name in STATEMENTS}
    with connect(stores.oltp_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        values = cursor.execute(SAMPLE).fetchone() or {}
    for _ in range(TURNS):
        for state in State:
            # A connection of its own: the server weighs plans made while the database was in the other state.
            with contexts_as(state, stores), connect(stores.oltp_url) as connection:
                signer = signer_of(stores)
                for name, (statement, steady) in STATEMENTS.items():
                    for way, role, tenant in (
                        (PAST, Role.LOADER, " AND tenant_id = %(tenant_id)s"),
                        (state, Role.APP, ""),
                    ):
                        text = statement.format(tenant=tenant)
                        taken = smallest(connection, role, text, values, rounds, steady=steady, signer=signer)
                        best[name][way] = min(best[name][way], taken)
    found = {
        name: {
            "without_microseconds": round(times[PAST], 1),
            **{
                state: {
                    "with_microseconds": round(times[state], 1),
                    "overhead_percent": round((times[state] / times[PAST] - 1) * 100, 1),
                }
                for state in State
            },
        }
        for name, times in best.items()
    }
    print(json.dumps({"statements": found, "aim": {"overhead_percent": 10}}, indent=1))


if __name__ == "__main__":
    main()
