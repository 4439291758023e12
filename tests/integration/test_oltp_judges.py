"""Outside judges: pgrls looks at the live schema and proves its policies, squawk reads the migrations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from oltp_support import shared_stores

from penguinmails.oltp.schema import MIGRATIONS
from penguinmails.oltp.tables import TABLES, Isolation
from penguinmails.stack.migrations import sql_of_all
from penguinmails.stack.stores import Stores

__all__ = ["shared_stores"]

TOOLS = Path(sys.executable).parent
SETTINGS = Path(__file__).parent.parent / "oltp_pgrls.toml"
FUNCTIONS = ["--auth-function", "app.current_tenant_id", "--auth-function", "app.current_user_id"]


def pgrls(stores: Stores, command: str, *options: str) -> dict[str, Any]:
    url = stores.oltp_url.get_secret_value()
    arguments = [str(TOOLS / "pgrls"), command, "--database-url", url, "--schemas", "public,app", "--format", "json"]
    done = subprocess.run([*arguments, *options], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_pgrls_finds_no_error_and_no_warning(shared_stores: Stores) -> None:
    found = pgrls(shared_stores, "lint", "--config", str(SETTINGS))["violations"]
    assert [finding for finding in found if finding["severity"] != "info"] == []


@pytest.mark.parametrize("mode", ["anon", "cross-tenant", "write"])
def test_every_table_of_a_tenant_is_proven(shared_stores: Stores, mode: str, tmp_path: Path) -> None:
    by_column: dict[str, set[str]] = {}
    # The prover knows one name for the owner of a row; tenants and users go by their own id.
    for column in ("tenant_id", "id", "user_id") if mode != "anon" else ("tenant_id",):
        settings = tmp_path / f"{column}.toml"
        settings.write_text(f'[lint.rules.SEC021]\nidentity_columns = ["{column}"]\n')
        verdicts = pgrls(shared_stores, "verify", "--mode", mode, "--config", str(settings), *FUNCTIONS)["tables"]
        assert not [table for table in verdicts if table["verdict"] == "leak"]
        by_column[column] = {
            table["table"].removeprefix("public.") for table in verdicts if table["verdict"] == "isolated"
        }
    proven = set.union(*by_column.values())
    owned = {name for name, table in TABLES.items() if table.isolation is not Isolation.PLATFORM}
    assert owned <= proven
    if mode != "anon":
        assert {name for name, table in TABLES.items() if table.tenant_key == "tenant_id"} <= by_column["tenant_id"]


def test_squawk_finds_nothing_in_the_migrations(tmp_path: Path) -> None:
    file = tmp_path / "all.sql"
    file.write_text(sql_of_all(MIGRATIONS))
    # varchar(n), char(3) and integer are the documented types of the product; lengths and codes have CHECK constraints.
    taste = "prefer-text-field,prefer-bigint-over-int,ban-char-field"
    done = subprocess.run(
        [str(TOOLS / "squawk"), "--pg-version", "18.0", "--exclude", taste, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
