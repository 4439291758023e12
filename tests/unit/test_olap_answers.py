"""Answers on the screen: nothing of a value is cut off, however wide its row is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penguinmails.olap.answers import show


def shown(table: pa.Table, capsys: pytest.CaptureFixture[str]) -> str:
    show(table.to_reader(), rows=10)
    return capsys.readouterr().out


def test_what_fits_is_a_table_and_what_does_not_is_told_row_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert "│ 7 │ [b] │" in shown(pa.table({"a": [7], "b": ["[b]"]}), capsys)
    wide = pa.table({f"column_{number}": ["x" * 30, "y" * 30] for number in range(20)})
    told = shown(wide, capsys)
    assert "row 2" in told
    assert told.count("x" * 30) == told.count("y" * 30) == 20
    assert "column_19" in told
