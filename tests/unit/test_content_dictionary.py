"""A dictionary gives nobody away, and still does its work."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
from penguinmails.content_store.dictionary_catalog import ratio
from penguinmails.content_store.dictionary_samples import MINIMUM_CORRESPONDENTS, Sample, choose_samples
from penguinmails.content_store.dictionary_training import shared_content, shared_pieces, train_dictionary
from penguinmails.content_store.shared_windows import WINDOW_BYTES, SharedWindows

SYLLABLES = ("ka", "zor", "mi", "vex", "tu", "qua", "bryn", "lo", "pha", "rik", "wo", "jes")
TEXT = (
    "I noticed that your team at {company} is growing quickly. We help agencies keep their sending domains healthy, and I "
    "would be glad to show you in fifteen minutes how a customer of ours doubled the answers to their outreach."
)


def campaign(count: int, seed: int = 1) -> list[tuple[Sample, list[str]]]:
    """Messages of one campaign, each with what is personal in it."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        first, last, company = ("".join(dice.choice(SYLLABLES) for _ in range(5)).title() for _ in range(3))
        address = f"{first}.{last}{number}@{company}.example".lower()
        token = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
        raw = (
            f"From: Robin <robin@tenant.example>\r\nTo: {first} {last} <{address}>\r\nSubject: {first}, a question\r\n"
            f"Message-ID: <{token[:20]}@tenant.example>\r\nList-Unsubscribe: <https://tenant.example/u/{token}>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nHi {first},\r\n\r\n{TEXT.format(company=company)}\r\n\r\n"
            f"Robin\r\nhttps://tenant.example/open/{token}.gif\r\n"
        ).encode()
        made.append((Sample(address, raw), [first, last, company, address, token, token[:20]]))
    return made


def test_nothing_personal_is_in_a_dictionary() -> None:
    made = campaign(300)
    # One person's thread with everybody: the address stands in messages to many, and still must not get in.
    shared = (
        b"\r\nOn Monday Zarathustra <zarathustra.quick@elsewhere.example> wrote to us 0123456789abcdef0123456789abcdef"
    )
    samples = [Sample(sample.correspondent, sample.raw + shared) for sample, _ in made]
    dictionary = train_dictionary(choose_samples(samples), 1_000_001)
    assert dictionary is not None
    lower = dictionary.content.lower()
    leaks = [word for _, personal in made for word in personal if word.lower().encode() in lower]
    assert leaks == []
    assert b"zarathustra.quick@" not in lower
    assert b"0123456789abcdef0123" not in lower
    assert b"healthy" in lower


def test_nothing_personal_is_learnt_from_a_thread_that_everybody_has() -> None:
    """What five people and more were sent word by word is still somebody's when it names somebody."""
    personal = [
        "Zarathustra",  # a correspondent, by the name in From
        "Kunigunde",  # in Cc
        "Jürgen",  # a correspondent whose name is encoded in the header and plain in the text
        "Vercingetorix",  # only in an address like first.last@
        "zarathustra.quick@elsewhere.example",
        "+44 20 7946 0958",
        "(555) 010-9988",
        "5550109988",
        "20261125101500",
        "<e4d909c2-90d0-4b1c@mail.elsewhere.example>",
        "0123456789abcdef0123456789abcdef",
        "<p05111a27b9b1d84@[10.1.2.3]>",
        "=?utf-8?B?SsO8cmdlbiBNw7xsbGVy?=",
    ]
    thread = "\r\n".join(f"thread of all of us, and {word} was there too as the others were" for word in personal)
    heads = [
        (
            "zq@elsewhere.example",
            "From: Zarathustra Quick <zq@elsewhere.example>\r\nCc: Kunigunde <k@elsewhere.example>",
        ),
        ("jm@elsewhere.example", "From: =?utf-8?B?SsO8cmdlbiBNw7xsbGVy?= <jm@elsewhere.example>"),
        ("vercingetorix.of_gaul@elsewhere.example", "From: vercingetorix.of_gaul@elsewhere.example"),
        *((f"{number}@elsewhere.example", f"From: {number}@elsewhere.example") for number in range(20)),
    ]
    samples = [Sample(who, f"{head}\r\nSubject: x\r\n\r\n{thread}\r\n".encode()) for who, head in heads]
    learnt = shared_content(samples).lower()
    assert b"thread of all of us, and " in learnt
    assert [word for word in personal if word.lower().encode() in learnt] == []
    # Nor any part of them that would tell who it was.
    assert [
        part
        for part in (b"zarat", b"kunig", b"rgen", b"verci", b"elsewhere", b"7946", b"010-99", b"55501")
        if part in learnt
    ] == []


def test_ordinary_words_may_be_names() -> None:
    text = b"Subject: x\r\n\r\nThe contract will be extended in March, says the market report."
    samples = [Sample(f"{n}@a.example", b"From: Will March <%d@a.example>\r\n%s" % (n, text)) for n in range(9)]
    assert b"will be extended in March, says the market report." in shared_content(samples)


def test_windows_are_never_counted_too_often() -> None:
    dice = random.Random(5)
    texts = [dice.randbytes(3000) + b"all of them have this" for _ in range(40)]
    windows = SharedWindows(texts, [number // 2 for number in range(40)], least_owners=3)
    for text in texts:
        offsets, _, owners = windows.owners_of(text)
        assert set(owners[offsets < 3000 - WINDOW_BYTES].tolist()) <= {1}
        assert owners[offsets >= 3000].tolist() == [20] * (len(b"all of them have this") - WINDOW_BYTES + 1)


def test_what_belongs_together_stays_together() -> None:
    """A later campaign that repeats pieces of an earlier one is one stretch of the dictionary, not a mosaic."""
    common = b"<td style='padding:0 20px'>a cell that both campaigns have</td>"
    first = b"|".join([common, b"<p>only in the first campaign, in all of its messages</p>", common])
    second = b"|".join([b"<p>how the second one begins</p>", common, b"<p>and how the second one goes on</p>"])
    raws = [first, second]
    samples = [Sample(f"{n}@a.example", b"Subject: x\r\n\r\n" + raws[n % 2]) for n in range(20)]
    assert second in shared_content(samples)


def test_it_pays() -> None:
    made = [sample for sample, _ in campaign(300)]
    dictionary = train_dictionary(made[:200], 1_000_001)
    assert dictionary is not None
    unseen = [sample.raw for sample in made[200:]]
    assert ratio(dictionary, unseen) > 1.5 * ratio(bootstrap_dictionary(), unseen)
    assert dictionary.digested.dict_id == 1_000_001


def test_training_gives_the_same_bytes_each_time() -> None:
    samples = [sample for sample, _ in campaign(100)]
    assert train_dictionary(samples, 1_000_001) == train_dictionary(samples, 1_000_001)


def test_too_few_correspondents_give_no_dictionary() -> None:
    made = [sample.raw for sample, _ in campaign(100)]
    four = [Sample(f"Person{number % 4}+tag{number}@example.org", raw) for number, raw in enumerate(made)]
    assert train_dictionary(four, 1_000_001) is None
    assert train_dictionary([], 1_000_001) is None
    assert train_dictionary([Sample(f"{n}@example.org", b"") for n in range(9)], 1_000_001) is None


WORDS = st.lists(
    st.sampled_from([b"the quick brown ", b"fox jumps ", b"over a lazy ", b"dog @ ", b"\0\xff"]), max_size=12
)


@given(st.lists(st.tuples(st.integers(0, 8), WORDS), max_size=30))
@settings(max_examples=40, deadline=None)
def test_every_window_is_shared_by_enough_people(messages: list[tuple[int, list[bytes]]]) -> None:
    samples = [Sample(f"p{person}@example.org", b"".join(words)) for person, words in messages]
    people = defaultdict(set)
    for sample in samples:
        for place in range(len(sample.raw) - WINDOW_BYTES + 1):
            people[sample.raw[place : place + WINDOW_BYTES]].add(sample.correspondent)
    seen = set()
    for piece in shared_pieces(samples):
        for place in range(len(piece.content) - WINDOW_BYTES + 1):
            seen.add(piece.content[place : place + WINDOW_BYTES])
    assert all(len(people[window]) >= MINIMUM_CORRESPONDENTS for window in seen)
    missed = {w for w, who in people.items() if len(who) >= MINIMUM_CORRESPONDENTS and b"@" not in w} - seen
    assert not missed
