"""What a payload may hold, and other rules that need no server."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from penguinmails.queue.backoff import LONGEST_SECONDS, retry_delay_seconds
from penguinmails.queue.errors import JobRefused, PayloadRefused
from penguinmails.queue.fast_lane import list_key, read_ticket
from penguinmails.queue.payloads import MAX_PAYLOAD_BYTES, encode_payload
from penguinmails.queue.producer import NewJob, insert_values
from penguinmails.queue.queues import QUEUES, Band, band_of

REFUSED: list[object] = [
    {"body": "x"},
    {"htmlBody": "x"},
    {"message": {"raw_message": "x"}},
    {"list": [{"Attachments": []}]},
    {"password": "x"},
    {"smtp_password": "x"},
    {"api-key": "x"},
    {"config": {"clientSecret": "x"}},
    {"note": "-----BEGIN RSA PRIVATE KEY-----"},
    {"url": "https://user:word@host/path"},
    {"text": "x" * 3_000},
    {"ids": ["x" * 1_000] * 30},
    {"nul": "a\x00b"},
    {"bytes": b"x"},
    {"set": {1, 2}},
    {"number": float("nan")},
    {"big": 2**70},
    {1: "x"},
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}},
    ["a", "list"],
    "text",
    None,
]


@pytest.mark.parametrize("payload", REFUSED, ids=range(len(REFUSED)))
def test_what_no_payload_may_hold_is_refused(payload: object) -> None:
    with pytest.raises(PayloadRefused) as refusal:
        encode_payload(payload)  # type: ignore[arg-type]
    assert "word@" not in str(refusal.value)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"message_id": "018f", "retry": True, "weights": [1, 2.5]},
        {"tokens_used": 3, "nobody": 1},
        {"day": "2026-01-01"},
    ],
)
def test_ids_and_small_configuration_are_accepted(payload: dict[str, object]) -> None:
    assert encode_payload(payload).startswith("{")


def test_a_model_is_a_payload() -> None:
    class Payload(BaseModel):
        day: datetime

    assert encode_payload(Payload(day=datetime.fromisoformat("2026-01-01T00:00:00+00:00"))) == (
        '{"day":"2026-01-01T00:00:00Z"}'
    )


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_value_is_accepted_within_the_limit_or_refused(value: object) -> None:
    try:
        encoded = encode_payload({"value": value})
    except PayloadRefused:
        return
    assert len(encoded.encode()) <= MAX_PAYLOAD_BYTES


@given(st.integers(1, 100), st.integers())
def test_waiting_doubles_with_jitter_up_to_five_minutes(attempt: int, seed: int) -> None:
    delay = retry_delay_seconds(attempt, Random(seed))
    assert min(LONGEST_SECONDS, 0.75 * 2**attempt) <= delay <= min(LONGEST_SECONDS, 1.25 * 2**attempt)


@given(st.integers(0, 1000))
def test_every_priority_has_one_band(priority: int) -> None:
    fitting = [band for band in Band if band.priorities[0] <= priority <= band.priorities[1]]
    assert fitting == [band_of(priority)]


def test_lists_are_named_as_the_product_documents_them() -> None:
    assert [list_key("email-sending", band) for band in Band] == [
        "queue:email-sending:high",
        "queue:email-sending",
        "queue:email-sending:low",
    ]


@given(st.binary() | st.sampled_from([b"{}", b"[]", b"null", b'{"id": 1, "gen": 2}', b'{"id": "x", "gen": true}']))
def test_a_foreign_message_is_no_ticket(message: bytes) -> None:
    assert read_ticket(message) is None


def test_queue_names_are_unique_and_leave_room_for_bands() -> None:
    names = [definition.name for definition in QUEUES]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.endswith((":high", ":low"))]


@pytest.mark.parametrize(
    "job",
    [
        NewJob("q", {}, priority=-1),
        NewJob("q", {}, priority=1001),
        NewJob("q", {}, run_at=datetime(2026, 1, 1)),  # noqa: DTZ001 - without a time zone on purpose
        NewJob("q", {}, max_attempts=0),
        NewJob("q", {}, dedupe_key=""),
        NewJob("q", {}, dedupe_key="x" * 201),
    ],
)
def test_arguments_out_of_range_are_refused(job: NewJob) -> None:
    with pytest.raises(JobRefused):
        insert_values(job)
