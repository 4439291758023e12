"""Every kind of source gives out the exact bytes under stable names, and survives damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mailbox
import tarfile
from pathlib import Path

import pytest
from oltp_support import mail

from penguinmails.oltp import mail_sources
from penguinmails.oltp.mail_sources import open_mail
from penguinmails.stack.errors import InputError

MAILS = {"a.eml": mail(1), "sub/b.eml": mail(2, body="From me\r\n\r\nFrom you"), "c": b"Subject: x\n\n\x00\xff\xfe\r"}


def read(path: Path) -> dict[str, bytes | None]:
    return {item.name: item.raw for item in open_mail(path).items()}


def archive(path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, raw in MAILS.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_gives_out_exact_bytes(tmp_path: Path, mode: str) -> None:
    assert read(archive(tmp_path / "mail.archive", mode)) == MAILS


def test_special_members_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("../../etc/passwd")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        member = tarfile.TarInfo("../../../outside.eml")
        member.size = len(MAILS["a.eml"])
        tar.addfile(member, io.BytesIO(MAILS["a.eml"]))
    assert read(path) == {"../../../outside.eml": MAILS["a.eml"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.tar"]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_archive_gives_out_what_is_whole_and_says_so(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "mail.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for number in range(40):
            raw = mail(number, body="x" * 700)
            member = tarfile.TarInfo(f"{number}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    whole = read(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    items = list(open_mail(path).items())
    assert items[-1].problem == "truncated"
    assert not any(item.problem for item in items[:-2])  # the member that was cut, and the rest
    assert all(item.raw == whole[item.name] for item in items if not item.problem)
    assert len(items) > 40 * keep * 0.8


@pytest.mark.parametrize("cut", [512, 700, 1024, 1536, 1700])
def test_a_plain_archive_that_was_cut_anywhere_says_so(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path / "mail.tar", "w:")
    assert [item.problem for item in open_mail(path).items()] == ["", "", ""]
    path.write_bytes(path.read_bytes()[:cut])
    items = list(open_mail(path).items())
    assert items[-1].problem == "truncated"
    assert all(item.raw == MAILS[item.name] for item in items if not item.problem)


def test_mbox_keeps_the_bytes_between_separators(tmp_path: Path) -> None:
    path = tmp_path / "inbox"
    bodies = [
        b"Subject: 1\n\nFrom here on no separator\n",
        b"Subject: 2\r\n\r\n>From quoted\r\n",
        b"Subject: 3\n\nno end of line",
    ]
    separator = b"From ada@sender.example Tue Sep  1 10:00:00 2026\n"
    path.write_bytes(separator + bodies[0] + b"\n" + separator + bodies[1] + b"\r\n" + separator + bodies[2])
    assert list(read(path).values()) == bodies


def test_mbox_of_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "box.mbox"
    box = mailbox.mbox(path)
    raws = [mail(number).replace(b"\r\n", b"\n") for number in range(5)]
    for raw in raws:
        box.add(raw)
    box.close()
    assert list(read(path).values()) == raws
    for name, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
        packed = tmp_path / f"box.{name}"
        packed.write_bytes(pack(path.read_bytes()))
        assert list(read(packed).values()) == raws


def test_maildir_names_stay_when_flags_change(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "box", create=True)
    key = box.add(mail(1))
    [name] = read(tmp_path / "box")
    message = box[key]
    message.set_subdir("cur")
    message.set_flags("RS")
    box[key] = message
    assert list(read(tmp_path / "box")) == [name]


def test_a_folder_is_read_in_order_without_following_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name, raw in MAILS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    (folder / "link").symlink_to(tmp_path)
    (folder / "z-link").symlink_to(folder / "a.eml")
    assert read(folder) == MAILS
    assert list(read(folder)) == ["a.eml", "c", "sub/b.eml"]


def test_a_single_message_may_be_compressed(tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(mail(1))
    assert read(path) == {"one.eml": mail(1)}
    path.write_bytes(gzip.compress(mail(1)))
    assert read(path) == {"one.eml": mail(1)}


def test_a_message_that_is_too_large_is_only_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_sources, "MAX_MESSAGE_BYTES", 1000)
    path = tmp_path / "big.eml"
    path.write_bytes(mail(1, body="x" * 2000))
    [item] = open_mail(path).items()
    assert (item.raw, item.problem, item.size_bytes) == (None, "too_large", path.stat().st_size)
    assert len(item.sha256) == 32


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: tarfile.open(path, "w").close()])
def test_nothing_is_a_typed_error(tmp_path: Path, make: object) -> None:
    path = tmp_path / "empty"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match="holds no mail"):
        read(path)


def test_a_wrong_path_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a file nor a folder"):
        open_mail(tmp_path / "missing")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "odd\udcff\udcfe.eml").write_bytes(mail(1))
    assert list(read(tmp_path)) == ["odd\\udcff\\udcfe.eml"]
