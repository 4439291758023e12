"""Headers of good, bad and hostile mail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oltp_support import NOW, mail

from penguinmails.oltp.mail_parsing import NotMail, ParsedMail, parse_mail, usable_address

SENT = datetime(2026, 9, 1, 10, 1, tzinfo=UTC)


def parse(raw: bytes) -> ParsedMail:
    return parse_mail(raw, now=NOW)


def headers(*lines: bytes) -> ParsedMail:
    return parse(b"\n".join([b"From: a@b.example", *lines]) + b"\n\nbody")


def test_a_plain_message() -> None:
    parsed = parse(mail(1, sender='"Frost, Ada" <ADA@Sender.example>', to="Lead <lead@example.com>, other@example.com"))
    assert (parsed.from_email, parsed.from_name) == ("ada@sender.example", "Frost, Ada")
    assert (parsed.to_email, parsed.to_name) == ("lead@example.com", "Lead")
    assert (parsed.subject, parsed.at, parsed.message_id_header) == ("Message 1", SENT, "<1@sender.example>")
    assert (parsed.message_type, parsed.thread_headers) == ("email", ())


@pytest.mark.parametrize(
    ("line", "subject"),
    [
        (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"Subject: =?no-such-charset?q?Gr=FC=DFe?=", None),
        (b"Subject: =?utf-8?b?broken", None),
        ("Subject: Grüße".encode(), "Grüße"),
        ("Subject: Grüße €".encode("cp1252"), "Grüße €"),
        (b"Subject: a\x00b", "a\ufffdb"),
        (b"Subject: one\r\n two", "one two"),
        (b"Subject: =?utf-8?q?a=0D=0ABcc:_x@y.example?=", "a Bcc: x@y.example"),
        (b"Subject: =?utf-16?b?2AA=?=", None),
        (b"Subject:", ""),
    ],
)
def test_subjects(line: bytes, subject: str | None) -> None:
    parsed = headers(line)
    assert subject is None or parsed.subject == subject
    parsed.subject.encode()
    assert not any(character in parsed.subject for character in "\x00\r\n")


def test_long_fields_are_cut() -> None:
    assert len(headers(b"Subject: " + b"x" * 100_000).subject) == 500
    many = b", ".join(b"p%d@example.com" % number for number in range(5000))
    assert headers(b"To: " + many).to_email == "p0@example.com"
    long_id = headers(b"Message-ID: <" + b"i" * 5000 + b"@x.example>").message_id_header
    assert long_id is not None
    assert len(long_id) == 998


@pytest.mark.parametrize(
    ("date", "received", "at"),
    [
        (b"Tue, 01 Sep 2026 12:01:00 +0200", b"", SENT),
        (b"Tue, 01 Sep 2026 10:01:00 -0000", b"", SENT),
        (b"1 Sep 2026 10:01", b"", SENT),
        (b"Fri, 01 Jan 1904 00:00:00 +0000", b"from x by y; Tue, 01 Sep 2026 10:01:00 +0000", SENT),
        (b"Fri, 01 Jan 2999 00:00:00 +0000", b"from x by y; Tue, 01 Sep 2026 10:01:00 +0000", SENT),
        (b"Mon, 99 Foo 99999 99:99:99 +9999", b"nonsense", NOW),
        (b"Tue, 01 Sep 2026 10:01:00 +9999", b"", NOW),
        (b"", b"", NOW),
    ],
)
def test_times(date: bytes, received: bytes, at: datetime) -> None:
    assert headers(b"Date: " + date, b"Received: " + received).at == at


def test_a_later_received_proves_delivery() -> None:
    stamp = b"Received: from x by y; Tue, 01 Sep 2026 10:0%d:00 +0000"
    parsed = headers(b"Date: Tue, 01 Sep 2026 10:01:00 +0000", stamp % 5, stamp % 3)
    assert parsed.received_at == SENT + timedelta(minutes=4)
    assert headers(b"Date: Tue, 01 Sep 2026 10:09:00 +0000", stamp % 5).received_at is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Ada@Sender.Example", "ada@sender.example"),
        ("<ada@sender.example>", "ada@sender.example"),
        ("ada", None),
        ("ada@", None),
        ("@x.example", None),
        ("a b@x.example", None),
        ("a@b@x.example", None),
        ("a@x..example", None),
        ("a" * 65 + "@x.example", None),
        ("a@" + "x" * 260 + ".example", None),
        ("müller@x.example", "müller@x.example"),
        ("MÜLLER@x.example", None),
        ("a\x00@x.example", None),
        ("undisclosed-recipients:;", None),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    assert usable_address(text) == address


def test_thread_headers_nearest_first() -> None:
    parsed = headers(b"In-Reply-To: <3@x>", b"References: <1@x> <2@x>\n <3@x>")
    assert parsed.thread_headers == ("<3@x>", "<2@x>", "<1@x>")


@pytest.mark.parametrize(
    "line",
    [b"Auto-Submitted: auto-replied", b"X-Autoreply: yes", b"Precedence: auto_reply", b"Subject: Out of office: Re"],
)
def test_automatic_replies(line: bytes) -> None:
    assert headers(line).message_type == "auto_reply"


def test_an_old_fashioned_bounce() -> None:
    parsed = parse(
        b"From: MAILER-DAEMON@mx.example\nSubject: Returned mail: User unknown\n\nStatus: 4.2.2\n\nMessage-Id: <9@x.example>\n"
    )
    assert parsed.bounce is not None
    assert (parsed.bounce.bounce_type, parsed.bounce.code, parsed.thread_headers) == (
        "soft",
        "4.2.2",
        ("<9@x.example>",),
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"", "empty"), (b"\r\n \r\n", "empty"), (b"\x00\x01\x02", "no_headers"), (b"mv 1 2\nmv 3 4\n", "no_headers")],
)
def test_what_is_no_mail(raw: bytes, reason: str) -> None:
    with pytest.raises(NotMail) as error:
        parse(raw)
    assert error.value.reason == reason


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\r\n\n", b"From ada Tue Sep  1 10:00:00 2026\n"])
def test_line_ends_and_what_stands_before(start: bytes, end: bytes) -> None:
    parsed = parse(start + end.join([b"From: a@b.example", b"Subject: x", b"", b"Subject: body"]))
    assert (parsed.from_email, parsed.subject) == ("a@b.example", "x")


def test_headers_without_body_and_truncated_mime() -> None:
    assert parse(b"From: a@b.example").from_email == "a@b.example"
    cut = parse(b'From: a@b.example\nContent-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: text/pl')
    assert cut.from_email == "a@b.example"


header_names = st.sampled_from(
    [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"References", b"Received", b"Content-Type"]
)
hostile = st.lists(
    st.tuples(
        header_names, st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8")))
    ),
    max_size=8,
)


@given(hostile, st.binary(max_size=50))
@settings(max_examples=300, deadline=None)
def test_anything_is_parsed_or_refused(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    raw = b"\n".join(name + b": " + value for name, value in fields) + b"\n\n" + body
    try:
        parsed = parse(raw)
    except NotMail:
        return
    texts = [
        parsed.subject,
        parsed.from_email,
        parsed.to_email,
        parsed.from_name,
        parsed.to_name,
        parsed.message_id_header,
    ]
    for text in [*texts, *parsed.thread_headers]:
        if text is not None:
            text.encode()
            assert "\x00" not in text
    assert parsed.at.tzinfo is not None
