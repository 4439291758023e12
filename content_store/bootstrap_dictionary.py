"""The bootstrap dictionary: what a tenant's first messages are compressed with.

Made by this module alone, from mail that it invents out of `dictionaries/bootstrap-mail.json` (no person's mail has part in
it), and shipped in the package. It knows how mail looks: headers of common servers, MIME, HTML scaffolding, business
phrases, bounces. Making it again gives the same bytes: `python -m penguinmails.content_store.bootstrap_dictionary FILE`.

Belongs here: inventing that mail and training on it. Does not belong here: dictionaries of tenants.
"""

from __future__ import annotations

import random
import re
import string
import struct
import sys
from pathlib import Path

import orjson

from penguinmails.content_store.codec import Dictionary

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOOTSTRAP_DICTIONARY_ID = 32_769
"""zstd leaves ids from 32,768 on to everybody; dictionaries of tenants start at a million."""
_FOLDER = Path(__file__).parent / "dictionaries"
_SIZE_BYTES = 112 << 10
_SAMPLES = 1_500
_SEED = 20_261_122
_BLANK = re.compile(r"\{([a-z_0-9]+)(?::(\d+))?\}")
_ALPHABETS = {
    "letters": string.ascii_lowercase + string.digits,
    "upper": string.ascii_uppercase + string.digits,
    "digits": string.digits,
    "base64": string.ascii_letters + string.digits + "+/",
}


def bootstrap_dictionary() -> Dictionary:
    """Returns the dictionary shipped in this package."""
    return Dictionary(BOOTSTRAP_DICTIONARY_ID, (_FOLDER / "bootstrap-1.zdict").read_bytes())


def make_bootstrap_dictionary() -> bytes:
    """Returns the dictionary, made anew; the same bytes each time."""
    samples = invented_mail(_SAMPLES)
    trained = zstd.train_dict(samples, _SIZE_BYTES)
    return with_dictionary_id(trained.dict_content, BOOTSTRAP_DICTIONARY_ID)


def with_dictionary_id(dictionary: bytes, dictionary_id: int) -> bytes:
    """Returns the dictionary with another id (RFC 8878, section 5: bytes 4 to 8, little endian)."""
    return dictionary[:4] + struct.pack("<I", dictionary_id) + dictionary[8:]


def invented_mail(count: int) -> list[bytes]:
    """Returns that many invented messages: outreach, campaigns, replies, lists, bounces; half of them with CRLF."""
    dice = random.Random(_SEED)  # noqa: S311 - to invent mail, not to protect any
    texts = _texts(_FOLDER / "bootstrap-mail.json")
    messages = [_filled("{message}", texts, dice) + "\n" for _ in range(count)]
    return [message.replace("\n", ("\n", "\r\n")[number % 2]).encode() for number, message in enumerate(messages)]


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
