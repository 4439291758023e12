"""SQL lives in `.sql` files beside the code that runs it; this module reads them.

A file of queries holds blocks that open with `-- name: the_name`, each followed by comment lines that say what it is for
and then exactly one statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import LiteralString

from penguinmails.stack.errors import InputError

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries(Mapping[str, LiteralString]):
    """The named statements of one `.sql` file, in file order.

    The texts count as LiteralString: they come from the project's own files, never from input.
    """

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        names = list(_NAME.finditer(text))
        ends = [*(match.start() for match in names[1:]), len(text)]
        statements = {
            match["name"]: text[match.end() : end].strip().rstrip(";") for match, end in zip(names, ends, strict=True)
        }
        if len(statements) != len(names):
            raise InputError(path.name, "holds two queries of the same name", "Rename one of them.")
        self.path = path
        self._statements = MappingProxyType(statements)

    def __getitem__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            known = ", ".join(self._statements)
            raise InputError(f"query {name}", f"is not in {self.path.name}", f"Known queries: {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def read_sql(path: Path) -> LiteralString:
    """Returns the text of one of the project's own `.sql` files."""
    return path.read_text(encoding="utf-8")
