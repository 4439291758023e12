"""Base64 kept decoded comes back bit for bit, however its lines were broken; what does not is left as it is."""

from __future__ import annotations

import base64
import itertools
import random

import content_second_reader as second
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penguinmails.content_store.errors import ContentDamaged
from penguinmails.content_store.recoded_message import (
    LEAST_ATTACHMENT_BYTES,
    LEAST_BLOCK_BYTES,
    Recipe,
    recode_message,
)
from penguinmails.content_store.sealing import Form

HEADER = b"Subject: files\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
TEXT = b"A text of some length in a language that is written with few letters.\n" * 5
FILE = random.Random(1).randbytes(LEAST_ATTACHMENT_BYTES + 1)


def broken(encoded: bytes, lengths: list[int], ending: bytes) -> bytes:
    """Returns the text in lines of these lengths, again and again."""
    lines, place = [], 0
    for length in itertools.cycle(lengths):
        lines.append(encoded[place : place + length])
        place += length
        if place >= len(encoded):
            return ending.join(lines)
    raise AssertionError("unreachable")


def again(raw: bytes) -> bytes:
    """Returns what comes of a message that is recoded, by both readers."""
    recoded = recode_message(raw)
    if recoded is None:
        return raw
    frame = recoded.to_bytes()
    assert len(frame) < len(raw)
    attachments = list(recoded.attachments)
    assert second.joined(frame, attachments) == raw
    return Recipe.read(frame, Form.RECODED, thing="message").join(attachments)


def decoded(raw: bytes) -> list[bytes]:
    recoded = recode_message(raw)
    return [block.content for block in recoded.blocks] if recoded else []


@given(
    contents=st.lists(st.integers(LEAST_BLOCK_BYTES, 3_000) | st.just(len(FILE)), min_size=1, max_size=3),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5) | st.sampled_from([[76], [72] * 9 + [74], [10_000]]),
    ending=st.sampled_from([b"\n", b"\r\n"]),
    after=st.sampled_from(
        [b"", b"\n", b"\n\n--x--\n", b"\n_____\nA footer.\n", b"\nFooter\n", b"=\n", b" \n", b"\r", b"AB"]
    ),
    before=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]),
)
@settings(max_examples=150, deadline=None)
def test_any_base64_comes_back(
    contents: list[int], lengths: list[int], ending: bytes, after: bytes, before: bytes
) -> None:
    blocks = [broken(base64.b64encode(FILE[:size]), lengths, ending) for size in contents]
    again_and_again = b"".join(HEADER + before + block + after + b"\n\n" for block in blocks)
    assert again(again_and_again) == again_and_again


@given(
    st.lists(st.sampled_from([HEADER, b"\n", b"\r\n", b"QUJD" * 50, b"QUJ=", b"--x\n", b"?", b"word "]), max_size=40)
)
@settings(max_examples=300, deadline=None)
def test_whatever_looks_like_base64_comes_back(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    assert again(raw) == raw


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("lengths", [[76], [72, 72, 74], [60, 61, 62], [4]])
def test_lines_of_any_length_are_decoded(ending: bytes, lengths: list[int]) -> None:
    for content in (TEXT, FILE):
        if lengths == [4] and content is FILE:
            continue
        block = broken(base64.b64encode(content), lengths, ending)
        for raw in (HEADER + block, HEADER + b"\n" + block + b"\n", HEADER + block + b"\n\nfooter of a list\n"):
            assert decoded(raw) == [content]
            assert again(raw) == raw


def test_small_blocks_stay_in_their_place_and_large_ones_go_apart() -> None:
    parts = [HEADER + base64.encodebytes(content) + b"\n--x\n" for content in (TEXT, FILE, TEXT[::-1])]
    recoded = recode_message(b"".join(parts))
    assert recoded is not None
    assert recoded.attachments == (FILE,)
    frame = recoded.to_bytes()
    assert TEXT in frame
    assert TEXT[::-1] in frame
    assert FILE not in frame


def test_an_attachment_that_has_gone_leaves_its_place_empty() -> None:
    first, last = HEADER + base64.encodebytes(TEXT) + b"\n--x\n", b"\n--x--\n"
    recoded = recode_message(first + HEADER + base64.encodebytes(FILE) + last)
    assert recoded is not None
    recipe = Recipe.read(recoded.to_bytes(), Form.RECODED, thing="message")
    assert recipe.join([None]) == first + HEADER + b"\n" + last
    for wrong in ([], [None, None], [FILE[:-1]]):
        with pytest.raises(ContentDamaged):
            recipe.join(wrong)


def test_only_what_comes_back_is_decoded() -> None:
    encoded = base64.b64encode(FILE)
    lines = broken(encoded, [76], b"\r\n")
    mixed = HEADER + lines.replace(b"\r\n", b"\n", 30).replace(b"\n", b"\r\n", 5)
    not_canonical = HEADER + encoded[:-2] + b"B="  # bits that no encoder sets
    too_small = HEADER + base64.b64encode(FILE[: LEAST_BLOCK_BYTES - 1])
    commented = HEADER + b"=comment\n" + lines
    nothing_won = HEADER + broken(base64.b64encode(TEXT), [1, 2], b"\n")
    for raw in (not_canonical, too_small, commented, nothing_won, b"base64", HEADER, HEADER + b"=" * 400):
        assert decoded(raw) == []
    for raw in (mixed, HEADER + broken(encoded[:-1], [76], b"\n")):
        (beginning,) = decoded(raw)  # whole lines of it are base64 for themselves
        assert FILE.startswith(beginning)
        assert again(raw) == raw


@given(st.binary(max_size=200))
@example(b"\x01\x00\x02\x01\x01\x01\x04")
@example(b"\x01\x00\x00\x01\x01\x00\x04")
@example(b"\x01" + b"\x80" * 20)
@settings(max_examples=300, deadline=None)
def test_rubbish_is_no_recipe(frame: bytes) -> None:
    for form in (Form.RECODED, Form.SPLIT):
        try:
            recipe = Recipe.read(frame, form, thing="message")
            recipe.join([None] * recipe.attachments)
        except ContentDamaged:
            continue
