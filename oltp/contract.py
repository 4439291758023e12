"""What the migrations make beyond tables and columns, written down, and the live database compared with it.

`contract.txt` holds a line for each default, rule, key, index, policy, right, trigger and function. It is read in reviews:
whatever a migration changes shows there. A test keeps it equal to what the migrations make; after a change write it anew:

    python -m penguinmails.oltp.contract > oltp/contract.txt

Belongs here: reading and comparing these lines. Does not belong here: tables and columns (tables.py), which have meanings.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.contexts import State, set_state
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import resolve

CONTRACT = Path(__file__).parent / "contract.txt"
WHEN_SEALED = "function when sealed"
_QUERIES = Queries(Path(__file__).parent / "contract.sql")


@dataclass(frozen=True, order=True)
class Clause:
    """One line: what a thing has.

    Args:
        thing: a table, or `app` for functions and their own tables.
        kind: default, rule, index, policy, right, right by column, trigger, storage, function, function when sealed or table.
        name: of the column, rule, index, policy, role, trigger or function.
        definition: as the server writes it.
    """

    thing: str
    kind: str
    name: str
    definition: str

    def __str__(self) -> str:
        return f"{self.thing} | {self.kind} | {self.name} | {self.definition}"


def live_contract(connection: Connection) -> list[Clause]:
    """Returns what the database has."""
    return sorted(Clause(*map(str, row)) for row in connection.execute(_QUERIES["contract"]))


def declared_contract(*, sealed: bool) -> list[Clause]:
    """Returns what it should have, with the functions of contexts as they are in that state."""
    lines = CONTRACT.read_text(encoding="utf-8").splitlines()
    clauses = [Clause(*line.split(" | ", 3)) for line in lines if line and not line.startswith("#")]
    when_sealed = {clause.name for clause in clauses if clause.kind == WHEN_SEALED}
    other = "function" if sealed else WHEN_SEALED
    return sorted(clause for clause in clauses if clause.name not in when_sealed or clause.kind != other)


def _both_states(connection: Connection) -> set[Clause]:
    found: set[Clause] = set()
    for wanted in State:
        with connection.transaction(force_rollback=True):
            set_state(connection, wanted)
            found |= set(live_contract(connection))
    return found


if __name__ == "__main__":
    with connect(resolve().oltp_url, Role.OWNER) as live:
        sys.stdout.write("# Made by python -m penguinmails.oltp.contract: thing | kind | name | definition\n")
        sys.stdout.writelines(f"{clause}\n" for clause in sorted(_both_states(live)))
