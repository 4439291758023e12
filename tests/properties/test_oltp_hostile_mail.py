"""Whatever bytes a source gives out, every item is accounted for and no original is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oltp_support import ListSource, clock, empty, items, mail, rows, shared_stores, stores

from penguinmails.oltp import intake_batch, mail_parsing
from penguinmails.oltp.intake import load_mail
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
KEPT = """
    SELECT encode(sha256(coalesce(bodies.raw_message, intake.raw_message)), 'hex'), encode(intake.raw_sha256, 'hex')
    FROM mail_intake AS intake
    LEFT JOIN email_message_bodies AS bodies USING (tenant_id, message_id)
"""
names = st.sampled_from(
    [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"In-Reply-To", b"References", b"Received", b"X"]
)
values = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"<1@sender.example>",
            b"Tue, 01 Sep 2026 10:00:00 +0000",
            b"A <a@b.example>",
            b"=?utf-8?b?AAAA?=",
            b"\xed\xa0\x80@x.example",
        ]
    ),
)
messages = st.builds(
    lambda fields, end, body: end.join(name + b": " + value for name, value in fields) + end + end + body,
    st.lists(st.tuples(names, values), max_size=10),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.binary(max_size=60),
)


@given(st.lists(st.one_of(messages, st.binary(max_size=200)), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_item_is_accounted_for(stores: Stores, rows: Rows, mails: list[bytes]) -> None:
    empty(stores)
    report = load_mail(stores, ListSource(items(*mails)), clock=clock)
    assert report.read == len(mails) == report.loaded + report.duplicates + report.set_aside
    kept = rows(KEPT)
    assert all(here == wanted for here, wanted in kept)
    assert {wanted for _, wanted in kept} == {hashlib.sha256(raw).hexdigest() for raw in mails}


def test_what_the_database_refuses_is_set_aside_alone(
    stores: Stores, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(raw: bytes, *, now: object) -> mail_parsing.ParsedMail:
        parsed = mail_parsing.parse_mail(raw, now=now)  # type: ignore[arg-type]
        if b"poison" in raw:
            object.__setattr__(parsed, "subject", "x" * 501)
        return parsed

    monkeypatch.setattr(intake_batch, "parse_mail", careless)
    mails = [mail(number, body="poison" if number == 3 else "fine") for number in range(9)]
    report = load_mail(stores, ListSource(items(*mails)), clock=clock)
    assert (report.loaded, report.reasons) == (8, {"refused_by_database": 1})
    assert rows("SELECT item_name, raw_message FROM mail_intake WHERE outcome = 'set_aside'") == [("0003", mails[3])]
