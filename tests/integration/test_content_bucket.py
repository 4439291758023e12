"""What the embedded S3 server does and does not do: a new version that behaves otherwise fails here, not in production."""

from __future__ import annotations

import base64
import hashlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError

from penguinmails.content_store.bucket_probe import ObjectStoreUnusable, must_be_usable, probe_bucket
from penguinmails.stack.object_store import Bucket, OperationNotAllowed

pytestmark = pytest.mark.servers
BODY = b"a message that must not be lost " * 40


def plain_client(bucket: Bucket):
    """boto3 as it comes: no allow-list, its own checksum settings."""
    address = bucket.address
    return boto3.session.Session().client(
        "s3",
        endpoint_url=address.endpoint_url,
        region_name=address.region,
        aws_access_key_id=address.access_key_id.get_secret_value(),
        aws_secret_access_key=address.secret_access_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )


def test_the_probe_says_what_it_can(bucket: Bucket) -> None:
    report = probe_bucket(bucket)
    assert report.usable
    unproven = {item.name for item in report.capabilities if not item.proven}
    assert unproven == {"refuses a wrong SHA-256", "creates only when absent"}
    assert list(bucket.list("")) == []


def test_a_store_that_does_less_is_refused_before_anything_is_entrusted_to_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bucket, "get_range", lambda self, key, offset, size: b"something else")
    with pytest.raises(ObjectStoreUnusable) as refused:
        must_be_usable(bucket)
    assert "gives a range" in refused.value.problem
    monkeypatch.undo()
    must_be_usable(bucket)
    monkeypatch.setattr(Bucket, "get_range", lambda self, key, offset, size: b"something else")
    must_be_usable(bucket)  # asked once
    assert list(bucket.list("")) == []


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("put_object_legal_hold", {"LegalHold": {"Status": "ON"}}),
        ("put_object_retention", {"Retention": {"Mode": "GOVERNANCE"}}),
        ("put_object_tagging", {"Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}),
        ("put_object_acl", {"ACL": "private"}),
    ],
)
def test_calls_it_does_not_know_overwrite_the_object_and_never_leave_us(bucket: Bucket, operation, arguments) -> None:
    bucket.put("key", BODY)
    with pytest.raises(OperationNotAllowed):
        getattr(bucket.client, operation)(Bucket=bucket.address.name, Key="key", **arguments)
    assert bucket.get("key") == BODY
    client = plain_client(bucket)
    getattr(client, operation)(Bucket=bucket.address.name, Key="key", **arguments)
    assert bucket.get("key") != BODY
    client.close()


def test_conditions_are_ignored(bucket: Bucket) -> None:
    bucket.put("key", BODY)
    bucket.client.put_object(Bucket=bucket.address.name, Key="key", Body=b"other", IfNoneMatch="*")
    assert bucket.get("key") == b"other"


def test_of_the_digests_only_md5_is_checked(bucket: Bucket) -> None:
    wrong = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        bucket.client.put_object(Bucket=bucket.address.name, Key="key", Body=BODY, ContentMD5=wrong)
    assert bucket.size_bytes("key") is None
    other = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    bucket.client.put_object(Bucket=bucket.address.name, Key="key", Body=BODY, ChecksumSHA256=other)
    assert bucket.get("key") == BODY


def test_a_ranged_read_needs_our_checksum_settings(bucket: Bucket) -> None:
    client = plain_client(bucket)
    client.put_object(Bucket=bucket.address.name, Key="key", Body=BODY)
    with pytest.raises(FlexibleChecksumError):
        client.get_object(Bucket=bucket.address.name, Key="key", Range="bytes=5-9")["Body"].read()
    client.close()
    assert bucket.get_range("key", 5, 5) == BODY[5:10]


def test_there_is_no_versioning(bucket: Bucket) -> None:
    client = plain_client(bucket)
    with pytest.raises(ClientError) as refused:
        client.put_bucket_versioning(Bucket=bucket.address.name, VersioningConfiguration={"Status": "Enabled"})
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    client.close()
