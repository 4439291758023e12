"""What a hand-over asks of Python's collector ends with the last of those that asked."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from penguinmails.content_store.rare_collections import rare_collections


@pytest.fixture(autouse=True)
def threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(500, 5, 5)
    yield
    gc.set_threshold(*before)


def test_the_last_one_puts_the_setting_back() -> None:
    first, second = rare_collections(), rare_collections()
    first.__enter__()
    second.__enter__()
    rare = gc.get_threshold()
    assert rare[0] > 500
    first.__exit__(None, None, None)
    assert gc.get_threshold() == rare
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (500, 5, 5)


@pytest.mark.parametrize("own", [(0, 5, 5), (1_000_000, 5, 5)])
def test_who_has_switched_it_off_or_made_it_rarer_keeps_that(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with rare_collections():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own
