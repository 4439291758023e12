"""What row level security costs: the same statements as the application, and past the policies with the tenant spelt out.

    python bench/oltp/row_security_overhead.py [--rounds 200]

Each round takes a statement some times past the policies and as often under them, one right after the other in the same session
(which of them goes first changes by round), and keeps the smallest time of each. What counts is the median of the differences
within rounds: a machine is quicker in one second than in the next, by more than the policies cost. It is done with contexts
believed as they are set (open) and with contexts believed for their proof (sealed). The share of rounds in which the policies
cost nothing or less says how much of a small difference is noise. A statement whose plan is steady (statements.py) has it both
ways; "planned each time" says what it costs otherwise. Needs a seeded database, seals and opens it meanwhile, and leaves it as
it was. Takes a quarter of a minute. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
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
EXECUTIONS = 10
WARM = 20
"""Executions that a way is given before the first round: the server plans anew for the first ones and then keeps a plan."""
PAST = (Role.LOADER, " AND tenant_id = %(tenant_id)s")
UNDER = (Role.APP, "")
Way = tuple[Role, str]


@dataclass(frozen=True, slots=True)
class Session:
    """A connection that takes the statements of one tenant."""

    connection: Connection
    values: dict[str, Any]
    signer: Signer | None

    def smallest(self, way: Way, statement: str, *, steady: bool, executions: int = EXECUTIONS) -> float:
        """Smallest time of one execution, in microseconds, with the plan kept by the server."""
        role, spelt_out = way
        text = sql.SQL(statement.format(tenant=spelt_out))  # type: ignore[arg-type]
        tenant = str(self.values["tenant_id"])
        best = float("inf")
        with self.connection.transaction():
            self.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            self.connection.execute(ENTER, [tenant, self.signer.seal(tenant, "") if self.signer else ""])
            if steady:
                self.connection.execute(STEADY)
            for _ in range(executions):
                began = time.perf_counter()
                self.connection.execute(text, self.values, prepare=True).fetchall()
                best = min(best, time.perf_counter() - began)
        return best * 1e6

    def rounds(self, statement: str, count: int, *, steady: bool) -> list[dict[Way, float]]:
        """Smallest times of both ways, round by round."""
        for way in (PAST, UNDER):
            self.smallest(way, statement, steady=steady, executions=WARM)
        found = []
        for number in range(count):
            order = (PAST, UNDER) if number % 2 else (UNDER, PAST)
            found.append({way: self.smallest(way, statement, steady=steady) for way in order})
        return found


def compared(rounds: list[dict[Way, float]]) -> dict[str, float]:
    """What the policies cost over all rounds."""
    differences = [each[UNDER] - each[PAST] for each in rounds]
    past = statistics.median(each[PAST] for each in rounds)
    more = statistics.median(differences)
    return {
        "without_microseconds": round(past, 1),
        "more_microseconds": round(more, 1),
        "overhead_percent": round(more / past * 100, 1),
        "rounds_at_no_cost_percent": round(sum(each <= 0 for each in differences) / len(rounds) * 100),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    count = parser.parse_args().rounds
    stores = resolve()
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in STATEMENTS}
    with connect(stores.oltp_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        values = cursor.execute(SAMPLE).fetchone()
    if values is None:
        parser.error("no message has come in yet: seed the database first (penguinmails oltp seed)")
    for state in State:
        # A connection of its own: the server weighs plans made while the database was in the other state.
        with contexts_as(state, stores), connect(stores.oltp_url) as connection:
            session = Session(connection, values, signer_of(stores))
            for name, (statement, steady) in STATEMENTS.items():
                found[name][state] = compared(session.rounds(statement, count, steady=steady))
    print(json.dumps({"rounds": count, "statements": found, "aim": {"overhead_percent": 10}}, indent=1))


if __name__ == "__main__":
    main()
