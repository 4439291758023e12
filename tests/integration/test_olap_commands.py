"""The commands and what stands behind them: following, export, rollback, questions, doctor."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from olap_support import (  # noqa: F401 - fixtures
    World,
    assert_marts_are_exact,
    named,
    oltp_template_fixture,
    stores_fixture,
    world_fixture,
)

from penguinmails.olap import cli
from penguinmails.olap.doctor import examine
from penguinmails.olap.following import Round, follow
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.errors import InputError, PlatformError
from penguinmails.stack.stores import Stores

Command = Callable[..., Result]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(name="command")
def command_fixture(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the stores of this test; errors of the platform come through."""
    monkeypatch.setattr("penguinmails.stack.stores.resolve", lambda: stores)

    def run(group: Any, *arguments: str) -> Result:
        result = CliRunner().invoke(group, arguments)
        if isinstance(result.exception, PlatformError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture(name="filled")
def filled_fixture(stores: Stores, world: World) -> Stores:
    world.message("a")
    world.event("a", "sent")
    world.message("b", tenant="t2")
    world.event("b", "sent", tenant="t2")
    roll_up(stores)
    publish(stores)
    return stores


def test_roll_up_publish_list_describe_freshness_verify(command: Command, world: World) -> None:
    world.message("a")
    world.event("a", "sent")
    assert json.loads(command(cli.marts, "roll-up", "--json").stdout)["rows_changed"] == 2
    assert json.loads(command(cli.marts, "publish", "--json").stdout)["number"] == 1
    listed = json.loads(command(cli.marts, "list", "--json").stdout)
    assert {mart["mart"] for mart in listed["marts"]} >= {"campaign_analytics", "billing_analytics"}
    assert "completed_leads" in command(cli.marts, "describe", "campaign_analytics").stdout
    assert json.loads(command(cli.marts, "freshness", "--json").stdout)["age_seconds"] >= 0
    compared = json.loads(command(cli.marts, "verify", "--json").stdout)
    assert all(table["missing"] == 0 for table in compared["tables"])
    assert "Made anew" in command(cli.marts, "rebuild").stdout
    with pytest.raises(InputError, match="Known marts"):
        command(cli.marts, "describe", "nothing")


def test_questions_in_every_form(command: Command, filled: Stores, tmp_path: Path) -> None:
    question = "SELECT tenant_id, SUM(sent) AS sent FROM campaign_analytics GROUP BY ALL ORDER BY ALL"
    assert "sent" in command(cli.sql, question).stdout
    rows = json.loads(command(cli.sql, question, "--json").stdout)
    assert {row["tenant_id"]: row["sent"] for row in rows} == {str(named("t1")): 1, str(named("t2")): 1}
    assert len(command(cli.sql, question, "--format", "csv").stdout.splitlines()) == 3
    command(cli.sql, question, "--output", str(tmp_path / "answer.parquet"))
    assert pq.read_table(tmp_path / "answer.parquet").num_rows == 2
    command(cli.sql, question, "--output", str(tmp_path / "answer.txt"), "--format", "csv")
    assert len((tmp_path / "answer.txt").read_text().splitlines()) == 3
    with pytest.raises(InputError, match="no form we write"):
        command(cli.sql, question, "--output", str(tmp_path / "answer.xlsx"))
    with pytest.raises(InputError, match="needs a file"):
        command(cli.sql, question, "--format", "parquet")
    assert sorted(path.name for path in tmp_path.glob("answer*")) == ["answer.parquet", "answer.txt"]
    for asked in ("SUMMARIZE tenant_weekly", "DESCRIBE campaign_analytics", "EXPLAIN " + question):
        assert command(cli.sql, asked).stdout
    assert CliRunner().invoke(cli.sql, ["-", "--json"], input=question).exit_code == 0


def test_what_is_no_question_is_refused(command: Command, filled: Stores) -> None:
    for statement in (
        "DELETE FROM campaign_analytics",
        "COPY campaign_analytics TO 'x.csv'",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM nowhere",
        "ATTACH 'other.duckdb'",
        "",
    ):
        with pytest.raises(InputError):
            command(cli.sql, statement)


def test_export_of_one_tenant_holds_nothing_of_another(command: Command, filled: Stores, tmp_path: Path) -> None:
    target = tmp_path / "exported"
    command(cli.marts, "export", str(target), "--tenant", str(named("t1")))
    manifest = json.loads((target / "manifest.json").read_text())
    for file in manifest["files"]:
        tenants = pq.read_table(target / file["file"], columns=["tenant_id"])["tenant_id"].to_pylist()
        assert len(tenants) == file["rows"]
        assert {str(tenant) for tenant in tenants} <= {str(named("t1"))}
    with pytest.raises(InputError, match="exists"):
        command(cli.marts, "export", str(target))
    with pytest.raises(InputError, match="is not in the published marts"):
        command(cli.marts, "export", str(tmp_path / "nobody"), "--tenant", str(named("nobody")))
    with pytest.raises(InputError, match="cannot be written"):
        command(cli.marts, "export", str(target / "manifest.json" / "below"))
    assert sorted(path.name for path in tmp_path.iterdir() if "nobody" in path.name) == []


def test_a_tenant_gets_one_file_of_its_own(command: Command, filled: Stores, tmp_path: Path) -> None:
    command(cli.marts, "export", str(tmp_path / "given"), "--tenant", str(named("t2")), "--format", "duckdb")
    assert sorted(path.name for path in (tmp_path / "given").iterdir()) == ["manifest.json", "marts.duckdb"]
    with duckdb.connect(tmp_path / "given" / "marts.duckdb", read_only=True) as connection:
        for mart in MARTS:
            tenants = connection.execute(f"SELECT DISTINCT tenant_id FROM {mart.name}").fetchall()
            assert tenants in ([], [(named("t2"),)]), mart.name
        described = connection.execute("SELECT COUNT(*) FROM duckdb_columns() WHERE comment IS NOT NULL").fetchall()
        assert described == [(sum(len(mart.columns) for mart in MARTS),)]


def test_going_back_to_an_earlier_publication(command: Command, filled: Stores, world: World) -> None:
    world.event("a", "opened", 1)
    roll_up(filled)
    publish(filled)
    command(cli.marts, "rollback", "1")

    def opened() -> object:
        with open_marts(filled) as connection:
            return connection.execute("SELECT SUM(opened_tracked) FROM campaign_analytics").fetchone()

    assert opened() == (0,)
    kept = json.loads(command(cli.marts, "snapshots", "--json").stdout)
    assert [(found["number"], found["is_newest"]) for found in kept] == [(1, True), (2, False)]
    question = "SELECT SUM(opened_tracked) AS opened FROM campaign_analytics"
    (asked,) = json.loads(command(cli.sql, question, "--publication", "2", "--json").stdout)
    assert asked == {"opened": 1}
    with pytest.raises(InputError, match="Kept publications: 1, 2"):
        command(cli.sql, question, "--publication", "7")
    publish(filled)
    assert opened() == (1,)
    with pytest.raises(InputError, match="Kept publications: 1, 2, 3"):
        command(cli.marts, "rollback", "99")


def test_following_publishes_what_comes_and_stays_quiet_otherwise(stores: Stores, world: World) -> None:
    stop = threading.Event()
    rounds: list[Round] = []

    def report(done: Round) -> None:
        rounds.append(done)
        if len(rounds) == 1:
            world.message("a")
            world.event("a", "sent")
        elif len(rounds) == 3:
            stop.set()

    follow(stores, stop, interval_seconds=0, report=report)
    assert [done.published is not None for done in rounds] == [True, True, False]
    assert_marts_are_exact(stores, world)


def test_doctor_looks_and_says_what_to_do(filled: Stores) -> None:
    found = {finding.name: finding for finding in examine(filled)}
    assert all(finding.ok for finding in found.values()), found
    assert "number 1" in found["marts: published"].detail


def test_the_report_is_one_file_that_needs_nothing_else(command: Command, filled: Stores, tmp_path: Path) -> None:
    command(cli.report, "--output", str(tmp_path / "report.html"))
    html = (tmp_path / "report.html").read_text()
    for outside in ("http://", "https://", "<script", "<link", "src="):
        assert outside not in html
    document = ElementTree.fromstring(html.removeprefix("<!doctype html>\n"))
    titles = [part.text for part in document.findall(".//h2")]
    assert titles == ["Summary", "Volume", "Deliverability", "Engagement", "Cost and margin", "Retention", "Data"]
    assert len(document.findall(".//svg")) >= 6
    assert all(chart.get("aria-label") for chart in document.findall(".//svg"))
    assert str(named("t1.c1")) in html


def test_the_notebook_runs(stores: Stores, filled: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguinmails.stack.stores.resolve", lambda: stores)
    notebook = json.loads((DOCS / "marts.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    names["marts"].close()


def test_the_questions_of_the_docs_are_answered(command: Command, filled: Stores) -> None:
    first, dashboard = (part.split("```")[0] for part in (DOCS / "marts.md").read_text().split("```sql\n")[1:])
    for question in questions_in(first, expected=6):
        command(cli.sql, "--json", "--", question)
    ids = {"tenant_id": named("t1"), "campaign_id": named("t1.c1")}
    with open_marts(filled) as connection:
        for question in questions_in(dashboard, expected=8):
            bound = {name: value for name, value in ids.items() if f"${name}" in question}
            connection.execute(question, bound).fetchall()


def questions_in(block: str, *, expected: int) -> list[str]:
    questions = [question for question in block.split(";\n") if question.strip()]
    assert len(questions) == expected
    return questions
