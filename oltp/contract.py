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
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import resolve

CONTRACT = Path(__file__).parent / "contract.txt"
_QUERIES = Queries(Path(__file__).parent / "contract.sql")


@dataclass(frozen=True, order=True)
class Clause:
    """One line: what a thing has.

    Args:
        thing: a table, or `app` for functions and their own tables.
        kind: default, rule, index, policy, right, right by column, trigger, storage, function or table.
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


def declared_contract() -> list[Clause]:
    """Returns what it should have."""
    lines = CONTRACT.read_text(encoding="utf-8").splitlines()
    return sorted(Clause(*line.split(" | ", 3)) for line in lines if line and not line.startswith("#"))


if __name__ == "__main__":
    with connect(resolve().oltp_url, Role.OWNER) as live:
        sys.stdout.write("# Made by python -m penguinmails.oltp.contract: thing | kind | name | definition\n")
        sys.stdout.writelines(f"{clause}\n" for clause in live_contract(live))
