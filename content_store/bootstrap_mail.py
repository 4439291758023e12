"""Making the bootstrap dictionary, from words, phrases and mail that this project invents.

No person's mail has part in it: `dictionaries/ordinary-words.txt` and `phrases.txt` are common English, and the mail is put
together out of `bootstrap-mail.json`: headers of common servers, MIME, HTML scaffolding, lists, bounces. What the invented
messages have in common is found exactly as for a tenant. Making it again gives the same bytes:
`python -m penguinmails.content_store.bootstrap_mail FILE`.

Belongs here: inventing that mail and training on it. Does not belong here: using the dictionary (bootstrap_dictionary.py).
"""

from __future__ import annotations

import random
import re
import string
import sys
from pathlib import Path

import orjson

from penguinmails.content_store.bootstrap_dictionary import BOOTSTRAP_CONTENT_BYTES, BOOTSTRAP_DICTIONARY_ID, FOLDER
from penguinmails.content_store.codec import THOROUGH_LEVEL
from penguinmails.content_store.dictionary_privacy import ordinary_words
from penguinmails.content_store.dictionary_samples import Sample
from penguinmails.content_store.dictionary_training import finalize, shared_content

_SAMPLES = 600
_SEED = 20_261_122
_LEAST_WORD_BYTES = 7
"""Finding a shorter word in the dictionary costs as much as spelling it."""
_BLANK = re.compile(r"\{([a-z_0-9]+)(?::(\d+))?\}")
_ALPHABETS = {
    "letters": string.ascii_lowercase + string.digits,
    "upper": string.ascii_uppercase + string.digits,
    "digits": string.digits,
    "base64": string.ascii_letters + string.digits + "+/",
}


def make_bootstrap_dictionary() -> bytes:
    """Returns the dictionary, made anew; the same bytes each time."""
    mail = invented_mail(_SAMPLES)
    samples = [Sample(f"person{number}@example.org", raw) for number, raw in enumerate(mail)]
    general = _words() + (FOLDER / "phrases.txt").read_bytes().replace(b"\n", b" ")
    content = general + shared_content(samples, most_bytes=BOOTSTRAP_CONTENT_BYTES - len(general))
    content = content[:1] * (BOOTSTRAP_CONTENT_BYTES - len(content)) + content
    return finalize(content, mail, BOOTSTRAP_DICTIONARY_ID, THOROUGH_LEVEL)


def invented_mail(count: int) -> list[bytes]:
    """Returns that many invented messages: outreach, campaigns, replies, lists, bounces; half of them with CRLF."""
    dice = random.Random(_SEED)  # noqa: S311 - to invent mail, not to protect any
    texts = _texts(FOLDER / "bootstrap-mail.json")
    messages = [_filled("{message}", texts, dice) + "\n" for _ in range(count)]
    return [message.replace("\n", ("\n", "\r\n")[number % 2]).encode() for number, message in enumerate(messages)]


def _words() -> bytes:
    """Returns the longer ordinary words; of `connect` and `connected` only the second."""
    words = sorted(ordinary_words())
    following = [*words[1:], b""]
    longest = [word for word, after in zip(words, following, strict=True) if not after.startswith(word)]
    return b" ".join([word for word in longest if len(word) >= _LEAST_WORD_BYTES]) + b" "


def _texts(path: Path) -> dict[str, list[str]]:
    """Returns the alternatives for each name; those of several lines stand in the file as lists of lines."""
    texts: dict[str, list[str | list[str]]] = orjson.loads(path.read_bytes())
    return {
        name: [text if isinstance(text, str) else "\n".join(text) for text in alternatives]
        for name, alternatives in texts.items()
    }


def _filled(text: str, texts: dict[str, list[str]], dice: random.Random) -> str:
    """Fills the blanks: `{name}` takes one of its alternatives, `{digits:5}` five random digits, `{number:9}` 1 to 9."""

    def fill(blank: re.Match[str]) -> str:
        name, count = blank[1], int(blank[2] or 0)
        if name == "number":
            return str(dice.randint(1, count))
        if name in _ALPHABETS:
            return "".join(dice.choice(_ALPHABETS[name]) for _ in range(count))
        return _filled(dice.choice(texts[name]), texts, dice)

    return _BLANK.sub(fill, text)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(make_bootstrap_dictionary())
