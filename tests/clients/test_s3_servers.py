"""Stock boto3 against two servers of one network: what one of them is given, the other one has.

Needs PROXIMA_S3_ONE and PROXIMA_S3_OTHER (http://HOST:PORT), PROXIMA_S3_KEY and PROXIMA_S3_SECRET of a token that may edit.
"""

import os
import uuid

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20
ONE, OTHER = os.environ["PROXIMA_S3_ONE"], os.environ["PROXIMA_S3_OTHER"]


def connect(endpoint):
    settings = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, signature_version="s3v4")
    key, secret = os.environ["PROXIMA_S3_KEY"], os.environ["PROXIMA_S3_SECRET"]
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="auto", config=settings
    )


def made(s3):
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def emptied(s3, bucket):
    for found in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=found["Key"])
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture(params=["one's bucket", "the other's bucket"])
def world(request):
    """A client of the bucket's home, one of the other server, the bucket, and a bucket of the other server."""
    home, away = connect(ONE), connect(OTHER)
    if request.param == "the other's bucket":
        home, away = away, home
    bucket, elsewhere = made(home), made(away)
    # A server hears of what another one was asked for a moment later.
    for s3, name in [(away, bucket), (home, elsewhere)]:
        s3.get_waiter("bucket_exists").wait(Bucket=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    yield home, away, bucket, elsewhere
    # Each by the server whose it is not.
    emptied(away, bucket)
    emptied(home, elsewhere)


def body(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def refused(call, **more):
    with pytest.raises(ClientError) as error:
        call(**more)
    return error.value.response["Error"]["Code"]


def test_objects_by_the_server_that_does_not_have_them(world):
    home, away, bucket, _ = world
    octets = os.urandom(3 * MIB + 17)
    put = away.put_object(Bucket=bucket, Key="a/large", Body=octets, Metadata={"said": "so"}, ChecksumAlgorithm="SHA256")
    home.put_object(Bucket=bucket, Key="b", Body=b"few")
    for s3 in (home, away):
        assert body(s3, bucket, "a/large") == octets
        assert body(s3, bucket, "a/large", Range="bytes=2097152-2097161") == octets[2 * MIB : 2 * MIB + 10]
        assert body(s3, bucket, "b") == b"few"
        head = s3.head_object(Bucket=bucket, Key="a/large", ChecksumMode="ENABLED")
        assert head["Metadata"] == {"said": "so"} and head["ETag"] == put["ETag"]
        assert head["ChecksumSHA256"] == put["ChecksumSHA256"]
        page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
        assert [found["Prefix"] for found in page["CommonPrefixes"]] == ["a/"]
        assert [found["Key"] for found in page["Contents"]] == ["b"]


def test_what_is_wrong_is_said_by_the_home(world):
    _, away, bucket, _ = world
    put = away.put_object(Bucket=bucket, Key="key", Body=b"octets")
    assert refused(away.get_object, Bucket=bucket, Key="key", IfNoneMatch=put["ETag"]) == "304"
    assert refused(away.get_object, Bucket=bucket, Key="key", IfMatch='"other"') == "PreconditionFailed"
    assert refused(away.get_object, Bucket=bucket, Key="nothing") == "NoSuchKey"
    assert refused(away.get_object, Bucket=bucket, Key="key", Range="bytes=9-") == "InvalidRange"
    assert refused(away.put_object, Bucket=bucket, Key="key", Body=b"x", IfNoneMatch="*") == "PreconditionFailed"
    md5 = "1B2M2Y8AsgTpgAmY7PhCfg=="
    assert refused(away.put_object, Bucket=bucket, Key="key", Body=b"x", ContentMD5=md5) == "BadDigest"
    assert refused(away.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    assert body(away, bucket, "key") == b"octets"


def test_an_upload_in_parts_by_both_servers(world):
    home, away, bucket, elsewhere = world
    away.put_object(Bucket=elsewhere, Key="original", Body=b"0123456789")
    first = os.urandom(5 * MIB)
    upload = away.create_multipart_upload(Bucket=bucket, Key="whole")["UploadId"]
    which = {"Bucket": bucket, "Key": "whole", "UploadId": upload}
    etags = [home.upload_part(**which, PartNumber=1, Body=first)["ETag"]]
    source = {"Bucket": elsewhere, "Key": "original"}
    copied = home.upload_part_copy(**which, PartNumber=2, CopySource=source, CopySourceRange="bytes=2-5")
    etags.append(copied["CopyPartResult"]["ETag"])
    assert [part["PartNumber"] for part in away.list_parts(**which)["Parts"]] == [1, 2]
    parts = [{"PartNumber": at + 1, "ETag": etag} for at, etag in enumerate(etags)]
    away.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
    assert body(home, bucket, "whole") == first + b"2345"
    assert refused(away.abort_multipart_upload, **which) == "NoSuchUpload"


def test_copies_between_buckets_of_two_servers(world):
    home, away, bucket, elsewhere = world
    octets = os.urandom(MIB)
    put = home.put_object(Bucket=bucket, Key="key", Body=octets, ContentType="text/plain")
    for s3 in (home, away):
        source = {"Bucket": bucket, "Key": "key"}
        copied = s3.copy_object(Bucket=elsewhere, Key="copy", CopySource=source, CopySourceIfMatch=put["ETag"])
        assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
        found = away.get_object(Bucket=elsewhere, Key="copy")
        assert found["Body"].read() == octets and found["ContentType"] == "text/plain"
        other = {"Bucket": elsewhere, "Key": "copy", "CopySource": source, "CopySourceIfNoneMatch": put["ETag"]}
        assert refused(s3.copy_object, **other) == "PreconditionFailed"
