"""Processes that seal: they give what one call gives, say when they were killed, and never outlive their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from uuid import UUID

import psutil
import pytest
from content_support import mail
from process_support import children_running

from penguinmails.content_store import sealing_processes
from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
from penguinmails.content_store.dictionary_samples import Sample, train_here
from penguinmails.content_store.errors import SealingProcessEnded
from penguinmails.content_store.sealed_batch import ListedAttachment, UnsealedBatch
from penguinmails.content_store.sealed_message import SealedMessage, open_message
from penguinmails.content_store.sealing import Form, TenantKey
from penguinmails.content_store.sealing_processes import SealingProcesses
from penguinmails.content_store.storage_layout import storage_key

TENANT = UUID(int=1)
KEY = TenantKey(TENANT, 1, b"k" * 32)
DICTIONARY = bootstrap_dictionary()
WITH_FILE = (
    b"MIME-Version: 1.0\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\nJVBERi0=\r\n'
)


@pytest.fixture(autouse=True)
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_processes, "_WORTH_IT_BYTES", 0)


def batch_of(*contents: bytes) -> UnsealedBatch:
    count = len(contents)
    names = [storage_key(TENANT, UUID(int=number)) for number in range(count)]
    forms, sizes = [Form.WHOLE] * count, list(map(len, contents))
    return UnsealedBatch(TENANT, names, forms, list(contents), sizes, [None] * count, [None] * count)


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_they_give_what_one_call_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_processes, "_MOST_MESSAGES", 30)
    monkeypatch.setattr(sealing_processes, "_MOST_SENT_BYTES", 100_000)
    contents = [*(mail(number) for number in range(100)), os.urandom(200_000), WITH_FILE, b"", mail(7) * 400]
    batch = batch_of(*contents)
    with SealingProcesses(2) as processes:
        made = processes.seal(batch, KEY, DICTIONARY)
        started = children_running("sealing_processes")
        samples = [Sample(f"{number}@example.org", mail(number)) for number in range(60)]
        assert processes.train(samples, 1_000_001, level=6) == train_here(samples, 1_000_001, level=6)
    assert len(started) == 2
    wait_until_gone(started)
    columns = zip(
        batch.storage_keys, contents, made.content_hashes, made.wrapped_keys, made.sealed, batch.forms, strict=True
    )
    for name, content, digest, wrapped_key, sealed, form in columns:
        message = SealedMessage(name, len(content), digest, wrapped_key, sealed, form)
        assert open_message(message, tenant_id=TENANT, key=KEY, dictionary=DICTIONARY) == content
    listed = [found for found in made.attachments if found]
    assert listed == [[ListedAttachment("a.pdf", "application/pdf", "attachment", 5, b"%PDF-")]]


def test_one_that_is_killed_is_an_error_that_says_so() -> None:
    with SealingProcesses(2) as processes:
        processes.seal(batch_of(mail(1)), KEY, DICTIONARY)
        for child in children_running("sealing_processes"):
            child.send_signal(signal.SIGKILL)
        with pytest.raises(SealingProcessEnded, match="-9"):
            processes.seal(batch_of(mail(1)), KEY, DICTIONARY)
    with pytest.raises(SealingProcessEnded, match="stopped"):
        processes.seal(batch_of(mail(1)), KEY, DICTIONARY)


def test_who_waits_for_one_is_told_when_they_are_stopped() -> None:
    told: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            processes.seal(batch_of(*[os.urandom(900_000)] * 40), KEY, DICTIONARY.at_level(17))
        except SealingProcessEnded as error:
            told.append(error)

    with SealingProcesses(2) as processes:
        processes.seal(batch_of(mail(1)), KEY, DICTIONARY)
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        time.sleep(0.2)
    thread.join(30)
    assert told
    assert not children_running("sealing_processes")


_STARTER = """
import time
from uuid import UUID
from penguinmails.content_store import sealing_processes
from penguinmails.content_store.bootstrap_dictionary import bootstrap_dictionary
from penguinmails.content_store.sealed_batch import UnsealedBatch
from penguinmails.content_store.sealing import Form, TenantKey

sealing_processes._WORTH_IT_BYTES = 0
processes = sealing_processes.SealingProcesses(2)
batch = UnsealedBatch(UUID(int=1), ["key"], [Form.WHOLE], [b"mail"], [4], [None], [None])
processes.seal(batch, TenantKey(UUID(int=1), 1, b"k" * 32), bootstrap_dictionary())
print("started", flush=True)
time.sleep(60)
"""


def test_they_do_not_outlive_a_starter_that_was_killed() -> None:
    starter = subprocess.Popen([sys.executable, "-c", _STARTER], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"started\n"
    started = psutil.Process(starter.pid).children()
    assert len(started) == 2
    starter.kill()
    starter.wait()
    starter.stdout.close()
    wait_until_gone(started)
