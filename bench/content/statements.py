"""What each statement of a hand-over costs a message, and how many times it is sent; prints one JSON document.

    python bench/content/statements.py [--messages N]

Cold outreach in the product's own tables, on the embedded servers in a temporary home that is removed at the end, handed over
by one thread, so that each statement has a core of its own: microseconds from sending it to its answer, the network of this
machine included. `everything_microseconds` is the whole hand-over by the same clock.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from typing import Any

from temporary_home import temporary_home

MOST_CHARACTERS = 70


class Stopwatch:
    """Adds up what statements take, by how they begin."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.times: Counter[str] = Counter()

    def watch(self, owner: type, method: str) -> None:
        """Measures every call of a method whose first argument is a statement."""
        original = getattr(owner, method)

        def measured(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(cursor, query, *arguments, **options)
            finally:
                name = self.name(query, cursor)
                self.seconds[name] += time.perf_counter() - started
                self.times[name] += 1

        setattr(owner, method, measured)

    @staticmethod
    def name(query: Any, cursor: Any) -> str:
        text = (
            query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string(cursor)
        )
        without_comments = re.sub(r"--[^\n]*", " ", text)
        return " ".join(without_comments.split())[:MOST_CHARACTERS]


def measure(messages: int) -> dict[str, Any]:
    import corpora
    import psycopg
    import waiting_mail

    from penguinmails.content_store.hand_over import hand_over
    from penguinmails.content_store.index import migrate
    from penguinmails.oltp.bodies import MessageBodies
    from penguinmails.stack.stores import resolve

    stores, stopwatch = resolve(), Stopwatch()
    waiting_mail.migrate(stores)
    migrate(stores)
    waiting_mail.put(stores, "statements", corpora.cold_outreach(messages), "outbound")
    stopwatch.watch(psycopg.Cursor, "execute")
    started = time.perf_counter()
    hand_over(stores, MessageBodies(stores), clock=lambda: waiting_mail.NOW, workers=1)
    seconds = time.perf_counter() - started
    return {
        "messages": messages,
        "everything_microseconds": round(seconds / messages * 1e6, 1),
        "statements": [
            {"microseconds": round(taken / messages * 1e6, 2), "times": stopwatch.times[name], "statement": name}
            for name, taken in stopwatch.seconds.most_common(12)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=120_000, help="(default: %(default)s)")
    options = parser.parse_args()
    with temporary_home():
        print(json.dumps(measure(options.messages), indent=2))


if __name__ == "__main__":
    main()
