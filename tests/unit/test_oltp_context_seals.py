"""The proof of a context: computed as anybody else would, told apart, and shown to nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from penguinmails.oltp.context_seals import ContextKey, Signer, key_file, key_of
from penguinmails.stack.errors import SettingsError
from penguinmails.stack.key_files import make_key_file
from penguinmails.stack.object_store import BucketAddress
from penguinmails.stack.stores import Stores

SECRET = b"0123456789abcdef0123456789abcdef"
TENANT, USER = "019b8b74-1800-7050-aab5-7a4142d295a8", "019b8b74-1800-733f-98be-5f2f0e5c342c"


def stores_at(home: Path, key: str | None = None) -> Stores:
    nowhere = SecretStr("postgresql://nowhere")
    bucket = BucketAddress("bucket", None, "us-east-1", None, None)
    urls = (nowhere,) * 6
    return Stores(home, *urls, bucket, context_key=SecretStr(key) if key is not None else None)


def test_a_seal_is_what_the_documentation_says() -> None:
    # Made with: printf %s "$TEXT" | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert (
        ContextKey(SECRET).seal(TENANT, USER, 1_800_000_000)
        == "1.c77771d2105bd5dc.1800000000.bb03809cc177e965f5d7f57e6acd3a70713ebcbb421fae6a1a825e9ded8dd26d"
    )
    assert (
        ContextKey(SECRET).seal("", USER, 1_800_000_000)
        == "1.c77771d2105bd5dc.1800000000.5982b67d8daeaba3e57cb8b2639f9b71324424d1a8f4413b1eca0dab2da61454"
    )


secrets, owners, moments = (
    st.binary(min_size=32, max_size=32),
    st.uuids().map(str) | st.just(""),
    st.integers(0, 10**10 - 1),
)


@given(secrets, owners, owners, moments)
def test_the_blocks_that_the_database_keeps_make_the_same_mac(
    secret: bytes, tenant: str, user: str, moment: int
) -> None:
    key = ContextKey(secret)
    version, key_id, expiry, mac = key.seal(tenant, user, moment).split(".")
    inner, outer = key.blocks()
    message = f"penguinmails:1:{tenant}:{user}:{expiry}".encode()
    assert hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).hexdigest() == mac
    assert hmac.new(secret, message, "sha256").hexdigest() == mac
    assert (version, key_id, int(expiry)) == ("1", key.key_id, moment)
    assert len(key.seal(tenant, user, moment)) == 94


@given(st.tuples(secrets, owners, owners, moments), st.tuples(secrets, owners, owners, moments))
def test_no_two_contexts_have_one_seal(one: tuple[bytes, str, str, int], other: tuple[bytes, str, str, int]) -> None:
    seals = {ContextKey(secret).seal(tenant, user, moment) for secret, tenant, user, moment in (one, other)}
    assert len(seals) == (1 if one == other else 2)


def test_a_signer_signs_for_a_minute() -> None:
    signer = Signer(ContextKey(SECRET), clock=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert signer.seal(TENANT, "") == ContextKey(SECRET).seal(TENANT, "", 1_795_176_060)


def test_nobody_is_shown_the_key() -> None:
    signer = Signer(ContextKey(SECRET))
    for shown in (repr(signer), str(signer), repr(signer.key)):
        assert SECRET.decode() not in shown
        assert SECRET.hex() not in shown


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    assert key_of(stores_at(tmp_path)) is None
    made = make_key_file(key_file(stores_at(tmp_path)))
    assert make_key_file(key_file(stores_at(tmp_path))) == made
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["context.key"]
    found = key_of(stores_at(tmp_path))
    assert found is not None
    assert found.key_id == ContextKey(made).key_id
    named = key_of(stores_at(tmp_path, base64.b64encode(SECRET).decode()))
    assert named is not None
    assert named.key_id == ContextKey(SECRET).key_id


@pytest.mark.parametrize("text", ["secret secret", base64.b64encode(SECRET[:-1]).decode(), SECRET.hex(), "ü" * 32])
def test_what_is_no_key_is_told_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="PENGUINMAILS_CONTEXT_KEY") as error:
        key_of(stores_at(tmp_path, text))
    assert text not in str(error.value)
    file = key_file(stores_at(tmp_path))
    make_key_file(file)
    file.write_text(text)
    with pytest.raises(SettingsError, match="key file") as error:
        key_of(stores_at(tmp_path))
    assert text not in str(error.value)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    make_key_file(key_file(stores_at(tmp_path)))
    key_file(stores_at(tmp_path)).chmod(0o640)
    with pytest.raises(SettingsError, match="can be read by others"):
        key_of(stores_at(tmp_path))
