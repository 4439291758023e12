"""The bytes of synthetic messages.

Belongs here: people, wording, headers, MIME. Does not belong here: who writes to whom and when (synthetic.py).
Everything is invented; domains are reserved ones (RFC 2606).
"""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GIVEN = _words(
    "Mira Jonas Elif Tomas Ingrid Pavel Saoirse Noor Kenji Lucía Björn Anaïs Teo Wanda Ravi Zoë Milan Freya"
)
_FAMILY = _words("Falk Moreno Ito Novak Lindqvist Okafor Peeters Quist Rossi Sato Tamm Urban Vega Weiss Young Zeman")
_COMPANIES = _words("Harbour Lantern Orchard Quarry Tundra Meadow Granite Cobalt Juniper Marlin Saffron Willow")
_TRADES = _words("Logistics Bakery Software Textiles Optics Tools Energy Clinics Interiors Robotics")
_RESERVED = ("example.com", "example.net", "example.org", "test")

_OPENINGS = (
    ("I came across {company} while looking at teams that answer hundreds of mails a day.",
     "Your colleagues at {company} must see the same flood of mail that we do."),
    ("You may have been busy last week, so here is the short version.",
     "I wanted to come back to my note about {company}."),
    ("This is my last message on the subject, I promise.",
     "I will not keep you any longer; one question before I close your file."),
)  # fmt: skip
_POINTS = (
    "All conversations with a customer in one place, whoever answers.",
    "Answers that went unread for a day are shown first.",
    "Sending stays below what each mailbox has been warmed up for.",
    "Nothing to install: it works with the mailboxes you have.",
)
_REPLIES = (
    "Thank you, this looks interesting. Could you send prices for twelve mailboxes?",
    "We have something like it in place until spring. Please write again in March.",
    "I am not the right person; our operations team decides this.",
    "Yes, Thursday at ten would suit me. Please send an invitation.",
)
_STYLE = (
    "body{margin:0;background:#f4f6f8;font-family:Helvetica,Arial,sans-serif;color:#22303c}"
    ".card{max-width:560px;margin:24px auto;padding:32px;background:#ffffff;border-radius:8px}"
    "a.button{display:inline-block;padding:12px 20px;background:#0b6e99;color:#ffffff;text-decoration:none}"
    ".foot{font-size:12px;color:#71808e;text-align:center;padding:16px}"
)


@dataclass(frozen=True)
class Person:
    """Somebody invented."""

    name: str
    email: str
    company: str

    @property
    def domain(self) -> str:
        return self.email.partition("@")[2]


@dataclass(frozen=True)
class Letter:
    """What a message is to say."""

    message_id: str
    at: datetime
    sender: Person
    recipient: Person
    subject: str
    step: int
    variant: int
    answers: Letter | None


def seeded_dice(*seeds: object) -> random.Random:
    """Returns dice that fall the same way for the same seeds."""
    return random.Random(" ".join(map(str, seeds)))  # noqa: S311  # test data, no secret


def people(seed: int, workspace: str, count: int) -> Iterator[Person]:
    """Gives out invented people, each with an address of their own."""
    dice = seeded_dice(seed, workspace, "people")
    for number in range(count):
        given, family = dice.choice(_GIVEN), dice.choice(_FAMILY)
        company, trade = dice.choice(_COMPANIES), dice.choice(_TRADES)
        local = given.encode("ascii", "ignore").decode().lower() + f".{family.lower()}{number}"
        domain = f"{company}-{trade}.{dice.choice(_RESERVED)}".lower()
        yield Person(f"{given} {family}", f"{local}@{domain}", f"{company} {trade}")


def outreach(letter: Letter) -> bytes:
    """A message of a sequence: text and HTML, with what bulk senders must say (RFC 8058)."""
    opening = _OPENINGS[letter.step][letter.variant].format(company=letter.recipient.company)
    hello = f"Hello {letter.recipient.name.partition(' ')[0]},"
    text = "\r\n".join(
        [
            hello,
            "",
            opening,
            "",
            *(f"- {point}" for point in _POINTS),
            "",
            "Would a short call next week suit you?",
            "",
            f"{letter.sender.name}",
            letter.sender.company,
        ]
    )
    points = "".join(f"<li>{point}</li>" for point in _POINTS)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><style>{_STYLE}</style></head><body>\r\n'
        f'<div class="card"><p>{hello}</p>\r\n<p>{opening}</p>\r\n<ul>{points}</ul>\r\n'
        f'<p><a class="button" href="https://links.example.com/{letter.variant}">See how it works</a></p>\r\n'
        f"<p>Would a short call next week suit you?</p>\r\n<p>{letter.sender.name}<br>{letter.sender.company}</p></div>\r\n"
        '<p class="foot">You receive this because your address is public. '
        f'<a href="https://links.example.com/unsubscribe/{letter.message_id[1:14]}">Unsubscribe</a></p>\r\n'
        f'<img src="https://links.example.com/open/{letter.message_id[1:14]}" width="1" height="1" alt="">'
        "</body></html>"
    )
    headers = [
        *_headers(letter, f"Re: {letter.subject}" if letter.answers else letter.subject),
        f"List-Unsubscribe: <https://links.example.com/unsubscribe/{letter.message_id[1:14]}>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ]
    return _alternative(headers, letter, text, page)


def reply(letter: Letter) -> bytes:
    """An answer of a recipient, with the question quoted."""
    question = letter.answers
    quoted = "" if question is None else "\r\n> ".join(["", *_POINTS])
    text = f"Hello,\r\n\r\n{_REPLIES[letter.variant]}\r\n\r\n{letter.sender.name}\r\n{quoted}\r\n"
    return _plain([*_received(letter), *_headers(letter, f"Re: {letter.subject}")], text)


def automatic_reply(letter: Letter) -> bytes:
    """An absence note (RFC 3834)."""
    text = f"I am out of the office until Monday and will answer then.\r\n\r\n{letter.sender.name}\r\n"
    headers = [
        *_received(letter),
        *_headers(letter, f"Automatic reply: {letter.subject}"),
        "Auto-Submitted: auto-replied",
    ]
    return _plain(headers, text)


def bounce(letter: Letter) -> bytes:
    """A delivery status notification (RFC 3464); variant 1 is a hard bounce, 0 a soft one."""
    code, action, words = (
        ("5.1.1", "failed", "550 5.1.1 No such user")
        if letter.variant
        else ("4.2.2", "failed", "452 4.2.2 Mailbox full")
    )
    original = letter.answers or letter
    boundary = f"=_report_{_token(letter)}"
    headers = [
        *_received(letter),
        f"From: Mail Delivery System <mailer-daemon@{letter.sender.domain}>",
        f"To: {letter.recipient.email}",
        "Subject: Undelivered Mail Returned to Sender",
        f"Date: {format_datetime(letter.at)}",
        f"Message-ID: {letter.message_id}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
    ]
    parts = [
        (
            f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
            f"Your message could not be delivered to {letter.sender.email}:\r\n{words}\r\n"
        ),
        (
            f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.{letter.sender.domain}\r\n\r\n"
            f"Final-Recipient: rfc822; {letter.sender.email}\r\nAction: {action}\r\nStatus: {code}\r\n"
            f"Diagnostic-Code: smtp; {words}\r\n"
        ),
        (
            f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: {original.sender.email}\r\n"
            f"To: {original.recipient.email}\r\nSubject: {original.subject}\r\nMessage-ID: {original.message_id}\r\n"
        ),
        f"--{boundary}--\r\n",
    ]
    return ("\r\n".join(headers) + "\r\n\r\n" + "\r\n".join(parts)).encode()


def _headers(letter: Letter, subject: str) -> list[str]:
    headers = [
        f"From: {_named(letter.sender)}",
        f"To: {_named(letter.recipient)}",
        f"Subject: {subject}",
        f"Date: {format_datetime(letter.at)}",
        f"Message-ID: {letter.message_id}",
        "MIME-Version: 1.0",
    ]
    if letter.answers:
        chain = []
        step: Letter | None = letter.answers
        while step:
            chain.append(step.message_id)
            step = step.answers
        headers += [f"In-Reply-To: {letter.answers.message_id}", "References: " + "\r\n ".join(reversed(chain))]
    return headers


def _received(letter: Letter) -> list[str]:
    return [
        (
            f"Received: from mx.{letter.sender.domain} (mx.{letter.sender.domain} [192.0.2.{len(letter.sender.email)}])\r\n"
            f"\tby mx.{letter.recipient.domain} with ESMTPS id {_token(letter)}; {format_datetime(letter.at)}"
        )
    ]


def _plain(headers: list[str], text: str) -> bytes:
    kind = ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    return ("\r\n".join([*headers, *kind]) + "\r\n\r\n" + text).encode()


def _alternative(headers: list[str], letter: Letter, text: str, page: str) -> bytes:
    boundary = f"=_alternative_{_token(letter)}"
    parts = [
        *headers,
        f'Content-Type: multipart/alternative; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        text,
        f"--{boundary}",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        page,
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(parts).encode()


def _named(person: Person) -> str:
    if person.name.isascii():
        return f"{person.name} <{person.email}>"
    return f"=?utf-8?b?{b64encode(person.name.encode()).decode()}?= <{person.email}>"


def _token(letter: Letter) -> str:
    return letter.message_id[1:].partition("@")[0].replace(".", "")
