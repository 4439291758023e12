"""Mail to measure on: cold outreach invented here, HTML campaigns merged with made-up data, real mail of a tar or folder.

Everything is yielded one message at a time, the same each time, as (correspondent, raw message).
"""

from __future__ import annotations

import email.utils
import hashlib
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

SYLLABLES = ("an", "bel", "cor", "dra", "el", "fin", "gar", "hol", "ist", "jo", "kel", "lun")
PHRASES = [f"{' '.join(random.Random(n).choice(SYLLABLES) * 2 for _ in range(12))}." for n in range(400)]
TEMPLATES = 12
CAMPAIGNS = 60
Mail = tuple[str, bytes]


def people(count: int) -> Iterator[dict[str, str]]:
    dice = random.Random(11)
    for number in range(count):
        first, last, company = ("".join(dice.choice(SYLLABLES) for _ in range(3)).title() for _ in range(3))
        token = hashlib.sha256(str(number).encode()).hexdigest()
        address = f"{first}.{last}{number}@{company}.example".lower()
        yield {"first": first, "last": last, "company": company, "address": address, "token": token}


def headers(person: dict[str, str], campaign: int, kind: str) -> str:
    token = person["token"]
    return (
        f"From: Robin Agency <robin@sender{campaign}.example>\r\nTo: {person['first']} {person['last']} <{person['address']}>\r\n"
        f"Subject: {person['first']}, a question about {person['company']}\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
        f"Message-ID: <{token[:24]}@sender{campaign}.example>\r\n"
        f"List-Unsubscribe: <https://sender{campaign}.example/u/{token}>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )


def cold_outreach(count: int) -> Iterator[Mail]:
    """Short personal mail of 60 campaigns, about 500 bytes of each message its own."""
    for number, person in enumerate(people(count)):
        campaign = number % CAMPAIGNS
        own = random.Random(person["token"])
        middle = " ".join(PHRASES[campaign * 6 : campaign * 6 + 6])
        remark = " ".join(own.choice(SYLLABLES) + own.choice(SYLLABLES) for _ in range(40))
        text = f"Hi {person['first']},\r\n\r\n{middle}\r\n\r\n{remark}\r\n\r\nBest,\r\nRobin\r\n"
        link = f"https://sender{campaign}.example/c/{person['token']}\r\n"
        yield person["address"], (headers(person, campaign, "text/plain") + text + link).encode()


def html_campaigns(count: int, templates: Path) -> Iterator[Mail]:
    """Newsletter templates merged with made-up data."""
    with tarfile.open(templates) as tar:
        pages = [tar.extractfile(m).read().decode("utf-8", "replace") for m in tar if m.name.endswith(".html")]
    pages = pages[:TEMPLATES]
    for number, person in enumerate(people(count)):
        campaign = number % len(pages)
        page = pages[campaign].replace("*|MC:SUBJECT|*", f"For {person['first']}")
        page = re.sub(r"\*\|[A-Z:_]+\|\*", f"https://l.example/{person['token'][:16]}", page)
        yield person["address"], (headers(person, campaign, "text/html") + page).encode()


def real_mail(count: int, path: Path) -> Iterator[Mail]:
    """Messages of a tar or a folder, with the sender as correspondent."""
    for number, raw in enumerate(_raw_files(path)):
        if number == count:
            return
        sender = re.search(rb"^From: (.*)$", raw, re.MULTILINE)
        yield email.utils.parseaddr(sender[1].decode("latin-1"))[1] if sender else "", raw


def _raw_files(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file())
        return
    with tarfile.open(path) as tar:
        yield from (tar.extractfile(member).read() for member in tar if member.isfile())
