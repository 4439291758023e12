"""What the tests of the whole path share: running the command in a home of its own, the state it leaves, and one run to start
from."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import made_once, new_home

from penguinmails.content_store.reading import ContentReader
from penguinmails.olap.reading import open_marts
from penguinmails.oltp.bodies import MessageBodies
from penguinmails.oltp.ledger import loaded_items, set_aside_items
from penguinmails.stack import embedded
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.settings import Settings
from penguinmails.stack.stores import resolve

MARTS = "SELECT * EXCLUDE (updated) FROM campaign_analytics ORDER BY ALL"
FACTS = "SELECT * FROM email_daily ORDER BY ALL"
SYNTHETIC = ("--messages", "150", "--seed", "7")
"""The mail of the run that is made once a session."""


@dataclass(frozen=True)
class State:
    """What must be equal however a run came to its end; packs and their number may differ."""

    messages: dict[str, tuple[str, str]]
    """Item name to message id and SHA-256 of the original."""
    bodies: dict[str, str]
    """Message id to SHA-256 of what the content tier gives back."""
    set_aside: list[str]
    facts: list[Any]
    marts: list[Any]


def as_real_servers(servers: Embedded) -> dict[str, str]:
    """Returns the settings that point at `servers` by URL, as if an operator ran them elsewhere."""
    address = servers.bucket()
    assert address.access_key_id
    assert address.secret_access_key
    return {
        "PENGUINMAILS_OLTP_URL": servers.postgres_url("oltp").get_secret_value(),
        "PENGUINMAILS_OLTP_APP_URL": servers.postgres_url("oltp", login="penguinmails_app").get_secret_value(),
        "PENGUINMAILS_CONTENT_URL": servers.postgres_url("content").get_secret_value(),
        "PENGUINMAILS_QUEUE_URL": servers.postgres_url("queue").get_secret_value(),
        "PENGUINMAILS_DAGSTER_URL": servers.postgres_url("dagster").get_secret_value(),
        "PENGUINMAILS_REDIS_URL": servers.redis_url().get_secret_value(),
        "PENGUINMAILS_S3_ENDPOINT_URL": str(address.endpoint_url),
        "PENGUINMAILS_S3_BUCKET": address.name,
        "AWS_ACCESS_KEY_ID": address.access_key_id.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": address.secret_access_key.get_secret_value(),
    }


class Platform:
    """The `penguinmails` command in one home."""

    def __init__(self, home: Path, settings: dict[str, str] | None = None) -> None:
        self.home = home
        self.settings = {"PENGUINMAILS_HOME": str(home), **(settings or {})}

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "penguinmails.stack.cli", *map(str, arguments)]
        environment = os.environ | self.settings
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def call(self, *arguments: str | Path, exit_code: int = 0) -> str:
        process = self.start(*arguments)
        output, problems = process.communicate()
        assert process.returncode == exit_code, f"{arguments}: exit {process.returncode}\n{output}\n{problems}"
        return output if exit_code == 0 else problems

    def ask(self, *arguments: str | Path) -> Any:
        return json.loads(self.call(*arguments, "--json"))

    def run(self, *arguments: str | Path) -> Any:
        return self.ask("run", *arguments)

    def state(self) -> State:
        """Reads everything back, as the commands do."""
        stores = resolve(Settings(home=self.home))
        messages = list(loaded_items(stores))
        with ContentReader(stores, bodies=MessageBodies(stores)) as reader, open_marts(stores) as marts:
            return State(
                messages={item.item_name: (str(item.message_id), item.sha256) for item in messages},
                bodies={
                    str(item.message_id): hashlib.sha256(reader.read(item.storage_key)).hexdigest() for item in messages
                },
                set_aside=sorted(item.item_name for item in set_aside_items(stores)),
                facts=marts.execute(FACTS).fetchall(),
                marts=marts.execute(MARTS).fetchall(),
            )


@dataclass(frozen=True)
class FinishedRun:
    """One run of `SYNTHETIC` that nothing disturbed.

    Args:
        home: what it left, its servers down: to be copied, never used.
        state: what it left, as the commands see it.
    """

    home: Path
    state: State


@pytest.fixture(scope="session", name="finished_run")
def finished_run_fixture() -> FinishedRun:
    """The session's one run, made when it is first asked for."""
    folder = made_once("finished-run", _run_undisturbed)
    return FinishedRun(folder / "home", pickle.loads((folder / "state").read_bytes()))


@pytest.fixture(name="platform_after_a_run")
def platform_after_a_run_fixture(finished_run: FinishedRun) -> Iterator[Platform]:
    """A home of this test's own in which `SYNTHETIC` was run."""
    with new_home(copy_of=finished_run.home) as home:
        yield Platform(home)


def _run_undisturbed(folder: Path) -> None:
    platform = Platform(folder / "home")
    outcome = platform.run(*SYNTHETIC)
    assert outcome["succeeded"], outcome["checks_failed"]
    (folder / "state").write_bytes(pickle.dumps(platform.state()))
    embedded.stop(platform.home)
    (platform.home / "s3.port.json").unlink()  # copies choose ports of their own
