"""What each choice of the dictionaries costs and gives, on the same messages; prints one JSON document.

    python bench/content/ratio_lab.py [--mail TAR_OR_FOLDER] [--templates TAR] [--messages N] [--every N]

Compressed in this process with the product's own functions, 16 bytes of seal a message included, packs' directories not. Each
ratio is measured on every N-th message; dictionaries are trained on the others (`unseen`) or on all of them (`seen`, as a
hand-over does with its first batch). `megabytes_per_second` is of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from corpora import cold_outreach, html_campaigns, real_mail

from penguinmails.content_store import dictionary_training
from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
from penguinmails.content_store.codec import FAST_LEVEL, THOROUGH_LEVEL, Dictionary, compress
from penguinmails.content_store.dictionary_samples import Sample, choose_samples
from penguinmails.content_store.dictionary_training import train_dictionary
from penguinmails.content_store.sealing import SEAL_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Corpus = Sequence[tuple[str, bytes]]


def measured(dictionary: Dictionary | None, messages: Sequence[bytes]) -> dict[str, float]:
    """Returns the ratio and the speed of one thread; a corpus too small or too diverse for a dictionary gives none."""
    if dictionary is None:
        return {}
    compress(messages[0], dictionary)  # digests the dictionary
    started = time.thread_time()
    stored = sum(len(compress(raw, dictionary)) + SEAL_BYTES for raw in messages)
    seconds = time.thread_time() - started
    raw_bytes = sum(map(len, messages))
    return {
        "ratio": round(raw_bytes / stored, 3),
        "dictionary_bytes": len(dictionary.content),
        "megabytes_per_second": round(raw_bytes / seconds / 1e6, 1),
    }


def trained(
    corpus: Corpus, level: int, most_bytes: int = dictionary_training.MOST_DICTIONARY_BYTES, **constants: object
) -> Dictionary | None:
    """Returns a dictionary trained with other constants than the product's."""
    with ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(patch.object(dictionary_training, name, value))
        samples = choose_samples([Sample(who, raw) for who, raw in corpus])
        return train_dictionary(samples, 1_000_001, level=level, most_bytes=most_bytes)


def experiments(corpus: Corpus, every: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the name and the outcome of each experiment."""
    judged = [raw for _, raw in corpus[::every]]
    others = [item for place, item in enumerate(corpus) if place % every]
    raw_bytes = sum(map(len, judged))
    yield "gzip_each", {"ratio": round(raw_bytes / sum(len(gzip.compress(raw, 6)) for raw in judged), 3)}
    yield "zstd_19_each", {"ratio": round(raw_bytes / sum(len(zstd.compress(raw, 19)) for raw in judged), 3)}
    for name, level in (("fast", FAST_LEVEL), ("thorough", THOROUGH_LEVEL), ("level_19", 19)):
        yield f"bootstrap_{name}", measured(bootstrap_dictionary().at_level(level), judged)
        yield f"seen_{name}", measured(trained(corpus, level), judged)
        yield f"unseen_{name}", measured(trained(others, level), judged)
    for k in (2, 3, 10):
        yield f"seen_thorough_k_{k}", measured(trained(corpus, THOROUGH_LEVEL, MINIMUM_CORRESPONDENTS=k), judged)
    megabyte = trained(corpus, THOROUGH_LEVEL, 1 << 20, MINIMUM_CORRESPONDENTS=2)
    yield "seen_thorough_k_2_1_mib", measured(megabyte, judged)
    yield "seen_fast_without_bridges", measured(trained(corpus, FAST_LEVEL, _MOST_BRIDGED_BYTES=1), judged)
    yield "seen_thorough_without_margins", measured(trained(corpus, THOROUGH_LEVEL, _MOST_MARGIN_BYTES=0), judged)
    with_names = trained(corpus, THOROUGH_LEVEL, names_in=lambda *_: set[bytes]())
    yield "seen_thorough_with_names", measured(with_names, judged)  # what leaving names out costs; never used
    quarter = trained(corpus[::4], THOROUGH_LEVEL)
    yield "a_quarter_of_the_samples_thorough", measured(quarter, judged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mail", type=Path)
    parser.add_argument("--templates", type=Path)
    parser.add_argument("--messages", type=int, default=3_000)
    parser.add_argument("--every", type=int, default=10)
    options = parser.parse_args()
    corpora: dict[str, Corpus] = {"cold_outreach": list(cold_outreach(options.messages))}
    if options.mail:
        corpora["real_mail"] = list(real_mail(options.messages, options.mail))
    if options.templates:
        corpora["html_campaigns"] = list(html_campaigns(options.messages, options.templates))
    print(json.dumps({name: dict(experiments(corpus, options.every)) for name, corpus in corpora.items()}, indent=2))


if __name__ == "__main__":
    main()
