"""Stock clients of S3, unmodified, against a server: boto3, awscli, s3cmd; and requests that no client sends.

Needs PROXIMA_S3 (http://HOST:PORT), PROXIMA_S3_KEY and PROXIMA_S3_SECRET of a token that may edit, and PROXIMA_S3_READER_KEY and
PROXIMA_S3_READER_SECRET of one that may only read.
"""

import base64
import concurrent.futures
import datetime
import hashlib
import http.client
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib
from pathlib import Path

import awscrt.checksums
import boto3
import boto3.s3.transfer
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["PROXIMA_S3"]
KEY, SECRET = os.environ["PROXIMA_S3_KEY"], os.environ["PROXIMA_S3_SECRET"]
MIB = 1 << 20


def connect(key=KEY, secret=SECRET, **config):
    style = {"addressing_style": "path"}
    settings = Config(retries={"max_attempts": 0}, s3=style, signature_version="s3v4", **config)
    return boto3.client(
        "s3", endpoint_url=ENDPOINT, aws_access_key_id=key, aws_secret_access_key=secret, region_name="auto", config=settings
    )


@pytest.fixture(scope="module")
def s3():
    return connect()


@pytest.fixture
def bucket(s3):
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    yield name
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        if page.get("Contents"):
            keys = [{"Key": found["Key"]} for found in page["Contents"]]
            s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    s3.delete_bucket(Bucket=name)


def refused(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    response = refusal.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def read(s3, bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


# Octets that no pattern of ours would let pass by accident.
def octets(count, seed=b"x"):
    return hashlib.shake_128(seed).digest(count)


def test_buckets_are_made_listed_and_deleted_when_they_are_empty(s3, bucket):
    names = [found["Name"] for found in s3.list_buckets()["Buckets"]]
    assert bucket in names
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refused(s3.create_bucket, Bucket=bucket) == (409, "BucketAlreadyOwnedByYou")
    assert refused(s3.head_bucket, Bucket="no-such-bucket-here")[0] == 404
    assert refused(s3.list_objects_v2, Bucket="no-such-bucket-here") == (404, "NoSuchBucket")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket=bucket, Key="k")
    other = f"{bucket}-2"
    s3.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": "weur"})
    assert s3.get_bucket_location(Bucket=other)["LocationConstraint"] == "weur"
    s3.delete_bucket(Bucket=other)
    assert refused(s3.delete_bucket, Bucket=other) == (404, "NoSuchBucket")


def test_what_is_put_is_got_with_what_was_said_of_it(s3, bucket):
    body = octets(100_000)
    said = {
        "ContentType": "text/plain; charset=utf-8",
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment",
        "ContentEncoding": "x-own, x-other",
        "ContentLanguage": "de",
        "Expires": datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "Metadata": {"one": "1", "two": "zwei"},
    }
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, StorageClass="STANDARD_IA", **said)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got, head = s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    for answer in (got, head):
        for name in ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata"):
            assert answer[name] == said[name], name
        assert (answer["ContentLength"], answer["ETag"], answer["StorageClass"]) == (100_000, put["ETag"], "STANDARD_IA")
    overridden = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="image/png", ResponseCacheControl="no-store")
    assert (overridden["ContentType"], overridden["CacheControl"]) == ("image/png", "no-store")
    assert refused(s3.get_object, Bucket=bucket, Key="other") == (404, "NoSuchKey")
    assert refused(s3.head_object, Bucket=bucket, Key="other")[0] == 404
    large = {f"k{at}": "v" * 1_000 for at in range(9)}
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata=large) == (400, "MetadataTooLarge")
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", StorageClass="GLACIER") == (400, "InvalidStorageClass")


UGLY = [
    "a b", "a+b", "a%2Fb", "a//b", "//", "/a", "a/", ".", "..", "../../etc/passwd", "a/../b", "a/./b", "é", "日本語/文字", "😀",
    "a\\b", "a'b\"c", "a&b<c>d", "a?b#c", "a=b;c,d:e@f", "~tilde-._", "a\tb", "x" * 1_024, "日" * 341, "%", "%00", "index.html?acl",
]


@pytest.mark.parametrize("key", UGLY, ids=range(len(UGLY)))
def test_a_key_is_any_text_and_no_path(s3, bucket, key):
    body = key.encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert read(s3, bucket, key) == body
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert [found["Key"] for found in s3.list_objects(Bucket=bucket)["Contents"]] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert read(s3, bucket, "copy") == body
    s3.delete_object(Bucket=bucket, Key=key)
    assert refused(s3.get_object, Bucket=bucket, Key=key) == (404, "NoSuchKey")


def test_a_key_that_is_too_long_is_refused(s3, bucket):
    assert refused(s3.put_object, Bucket=bucket, Key="x" * 1_025, Body=b"")[0] == 400


def test_parts_of_an_object_are_got(s3, bucket):
    body = octets(1_000_000)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    for text, expected in [
        ("bytes=0-0", body[:1]), ("bytes=5-9", body[5:10]), ("bytes=999990-", body[-10:]), ("bytes=-7", body[-7:]),
        ("bytes=-2000000", body), ("bytes=10-5000000", body[10:]), ("bytes=262143-262145", body[262_143:262_146]),
    ]:
        got = s3.get_object(Bucket=bucket, Key="k", Range=text)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == expected, text
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-9")["ContentRange"] == "bytes 5-9/1000000"
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=1000000-") == (416, "InvalidRange")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert refused(s3.get_object, Bucket=bucket, Key="empty", Range="bytes=0-1") == (416, "InvalidRange")


def test_reads_on_condition(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    now = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    before, after = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)
    for condition in [{"IfMatch": tag}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": before}, {"IfUnmodifiedSince": after}]:
        assert read(s3, bucket, "k", **condition) == b"x", condition
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfMatch='"other"') == (412, "PreconditionFailed")
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfUnmodifiedSince=before) == (412, "PreconditionFailed")
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=tag)[0] == 304
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=after)[0] == 304


def test_of_many_writers_on_condition_one_wins(s3, bucket):
    def create(at):
        try:
            connect().put_object(Bucket=bucket, Key="k", Body=octets(50_000, str(at).encode()), IfNoneMatch="*")
            return at
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed", error
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [at for at in pool.map(create, range(16)) if at is not None]
    assert len(winners) == 1
    assert read(s3, bucket, "k") == octets(50_000, str(winners[0]).encode())
    tag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfMatch=tag)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"third", IfMatch=tag) == (412, "PreconditionFailed")
    assert refused(s3.put_object, Bucket=bucket, Key="none", Body=b"x", IfMatch=tag) == (404, "NoSuchKey")
    assert refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch=tag) == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == b"second"


DIGESTS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: awscrt.checksums.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: awscrt.checksums.crc64nvme(data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


@pytest.mark.parametrize("algorithm", DIGESTS)
@pytest.mark.parametrize("body", [b"", b"123456789", octets(600_000)], ids=["empty", "small", "large"])
def test_checksums_are_checked_kept_and_told(s3, bucket, algorithm, body):
    name = f"Checksum{algorithm}"
    value = base64.b64encode(DIGESTS[algorithm](body)).decode()
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
    assert put[name] == value
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (value, "FULL_OBJECT")
    # boto3 compares it, too.
    assert read(s3, bucket, "k", ChecksumMode="ENABLED") == body
    wrong = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
    if wrong != value:
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=body, **{name: wrong}) == (400, "BadDigest")
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=body, **{name: "AAAA"})[0] == 400
    about = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
    assert (about["Checksum"][name], about["ObjectSize"], f'"{about["ETag"]}"') == (value, len(body), head["ETag"])


def test_a_body_that_is_not_what_its_md5_says_is_refused(s3, bucket):
    wrong = base64.b64encode(bytes(16)).decode()
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=wrong) == (400, "BadDigest")
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="AAAA") == (400, "InvalidDigest")
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


def test_an_upload_in_parts(s3, bucket):
    parts = [octets(5 * MIB, b"1"), octets(6 * MIB, b"2"), octets(100, b"3")]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"a": "b"})["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    # Out of order, and one of them twice.
    tags = {}
    for number in (3, 1, 2):
        s3.upload_part(PartNumber=number, Body=b"replaced", **which)
        tags[number] = s3.upload_part(PartNumber=number, Body=parts[number - 1], **which)["ETag"]
    assert [part["PartNumber"] for part in s3.list_parts(**which)["Parts"]] == [1, 2, 3]
    page = s3.list_parts(MaxParts=1, PartNumberMarker=1, **which)
    assert ([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"]) == ([2], True)
    assert [found["Key"] for found in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["k"]
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")

    def complete(numbers, **more):
        chosen = [{"PartNumber": number, "ETag": tags[number]} for number in numbers]
        return s3.complete_multipart_upload(MultipartUpload={"Parts": chosen}, **which, **more)

    assert refused(complete, numbers=[2, 1]) == (400, "InvalidPartOrder")
    assert refused(complete, numbers=[1, 3, 2])[0] == 400
    tags[4] = tags[1]
    assert refused(complete, numbers=[1, 4]) == (400, "InvalidPart")
    done = complete([1, 2, 3])
    md5 = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert done["ETag"] == f'"{md5}-3"'
    assert complete([1, 2, 3])["ETag"] == done["ETag"], "asked again, it is answered again"
    assert read(s3, bucket, "k") == b"".join(parts)
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (got["PartsCount"], got["Metadata"], got["Body"].read()) == (3, {"a": "b"}, parts[1])
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert refused(s3.upload_part, PartNumber=1, Body=b"late", **which) == (404, "NoSuchUpload")


def test_uploads_that_cannot_be_completed(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    for number in (0, 10_001):
        assert refused(s3.upload_part, PartNumber=number, Body=b"x", **which)[0] == 400
    tags = [s3.upload_part(PartNumber=number, Body=b"small", **which)["ETag"] for number in (1, 10_000)]
    chosen = [{"PartNumber": number, "ETag": tag} for number, tag in zip((1, 10_000), tags)]
    assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": chosen}, **which) == (400, "EntityTooSmall")
    assert refused(s3.complete_multipart_upload, MultipartUpload={"Parts": []}, **which)[0] == 400
    s3.abort_multipart_upload(**which)
    assert refused(s3.abort_multipart_upload, **which) == (404, "NoSuchUpload")
    assert refused(s3.list_parts, **which) == (404, "NoSuchUpload")
    assert refused(s3.list_parts, Bucket=bucket, Key="k", UploadId="no-upload") == (404, "NoSuchUpload")


def test_large_files_go_up_and_down_by_parts(s3, bucket, tmp_path):
    body = octets(20 * MIB)
    (tmp_path / "up").write_bytes(body)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_file(str(tmp_path / "up"), bucket, "k", Config=config)
    s3.download_file(bucket, "k", str(tmp_path / "down"), Config=config)
    assert (tmp_path / "down").read_bytes() == body
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-4"')


@pytest.mark.parametrize("algorithm, kind", [
    ("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("CRC32C", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"),
    ("SHA256", "COMPOSITE"),
])
def test_checksums_of_uploads_in_parts(s3, bucket, algorithm, kind):
    parts = [octets(5 * MIB, b"1"), octets(1_000, b"2")]
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)
    which = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    name, chosen = f"Checksum{algorithm}", []
    for number, part in enumerate(parts, 1):
        put = s3.upload_part(PartNumber=number, Body=part, ChecksumAlgorithm=algorithm, **which)
        chosen.append({"PartNumber": number, "ETag": put["ETag"], name: put[name]})
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": chosen}, **which)
    digest = DIGESTS[algorithm]
    whole = digest(b"".join(parts)) if kind == "FULL_OBJECT" else digest(b"".join(map(digest, parts)))
    told = base64.b64encode(whole).decode() + ("" if kind == "FULL_OBJECT" else "-2")
    assert (done[name], done["ChecksumType"]) == (told, kind)


def test_copies(s3, bucket):
    body = octets(6 * MIB)
    tag = s3.put_object(Bucket=bucket, Key="from", Body=body, Metadata={"a": "b"}, ContentType="text/x")["ETag"]
    source = {"Bucket": bucket, "Key": "from"}
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="other", CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "d"})
    same, other = s3.get_object(Bucket=bucket, Key="same"), s3.get_object(Bucket=bucket, Key="other")
    assert (same["Body"].read(), same["Metadata"], same["ContentType"]) == (body, {"a": "b"}, "text/x")
    assert (other["Body"].read(), other["Metadata"]) == (body, {"c": "d"})
    itself = {"Bucket": bucket, "Key": "from", "CopySource": source}
    assert refused(s3.copy_object, **itself) == (400, "InvalidRequest")
    s3.copy_object(MetadataDirective="REPLACE", Metadata={"e": "f"}, **itself)
    assert s3.head_object(Bucket=bucket, Key="from")["Metadata"] == {"e": "f"}
    wrong = {"Bucket": bucket, "Key": "x", "CopySource": source, "CopySourceIfMatch": '"other"'}
    assert refused(s3.copy_object, **wrong) == (412, "PreconditionFailed")
    s3.copy_object(Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch=tag)
    missing = {"Bucket": bucket, "Key": "none"}
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=missing) == (404, "NoSuchKey")
    s3.delete_object(Bucket=bucket, Key="from")
    assert read(s3, bucket, "same") == body
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    source = {"Bucket": bucket, "Key": "same"}
    chosen = []
    for number, text in ((1, f"bytes=0-{5 * MIB - 1}"), (2, "bytes=10-19")):
        part = s3.upload_part_copy(PartNumber=number, CopySource=source, CopySourceRange=text, **which)
        chosen.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
    beyond = {"PartNumber": 3, "CopySource": source, "CopySourceRange": f"bytes=0-{6 * MIB}"}
    assert refused(s3.upload_part_copy, **beyond, **which)[0] in (400, 416)
    s3.complete_multipart_upload(MultipartUpload={"Parts": chosen}, **which)
    assert read(s3, bucket, "k") == body[: 5 * MIB] + body[10:20]


def test_listings_by_pages_prefixes_and_delimiters(s3, bucket):
    keys = sorted(f"{folder}{name}" for folder in ("", "a/", "a/b/", "b/") for name in "xyz")
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for size in (1, 2, 5, 1_000):
        for version in ("list_objects", "list_objects_v2"):
            pages = s3.get_paginator(version).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
            assert [found["Key"] for page in pages for found in page.get("Contents", [])] == keys, (size, version)
            pages = s3.get_paginator(version).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
            pages = list(pages)
            assert [found["Key"] for page in pages for found in page.get("Contents", [])] == ["x", "y", "z"]
            assert [found["Prefix"] for page in pages for found in page.get("CommonPrefixes", [])] == ["a/", "b/"]
    below = s3.list_objects_v2(Bucket=bucket, Prefix="a/", Delimiter="/")
    assert [found["Key"] for found in below["Contents"]] == ["a/x", "a/y", "a/z"]
    assert [found["Prefix"] for found in below["CommonPrefixes"]] == ["a/b/"]
    assert below["KeyCount"] == 4
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="b/")
    assert [found["Key"] for found in after["Contents"]] == [key for key in keys if key > "b/"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    assert refused(s3.list_objects_v2, Bucket=bucket, ContinuationToken="no-token") == (400, "InvalidArgument")


def test_many_keys_are_deleted_at_once(s3, bucket):
    for at in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{at}", Body=b"x")
    keys = [{"Key": f"k{at}"} for at in range(10)] + [{"Key": "none"}]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})["Deleted"]
    assert [found["Key"] for found in deleted] == [key["Key"] for key in keys]
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k10"}], "Quiet": True})
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 9
    many = [{"Key": f"k{at}"} for at in range(1_001)]
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": many}) == (400, "MalformedXML")


def fetch(method, url, body=None, **headers):
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_presigned_urls_until_they_expire(s3, bucket):
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b"}, ExpiresIn=60)
    assert fetch("PUT", put, b"body")[0] == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b"}, ExpiresIn=60)
    assert fetch("GET", get) == (200, b"body")
    assert fetch("DELETE", get)[0] == 403, "it is for one method"
    assert fetch("GET", get.replace("a%20b", "c"))[0] == 403, "and one key"
    signature = urllib.parse.parse_qs(urllib.parse.urlparse(get).query)["X-Amz-Signature"][0]
    other = signature.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    status, text = fetch("GET", get.replace(signature, other))
    assert (status, b"SignatureDoesNotMatch" in text) == (403, True)
    status, text = fetch("GET", signed(s3, bucket, "a b", minutes=-2, expires=60))
    assert (status, b"Request has expired" in text) == (403, True)
    status, text = fetch("GET", signed(s3, bucket, "a b", minutes=20, expires=60))
    assert (status, b"RequestTimeTooSkewed" in text) == (403, True)


def signed(s3, bucket, key, minutes, expires):
    """A URL that was signed at another time."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    url = f"{ENDPOINT}/{bucket}/{urllib.parse.quote(key)}"
    request = botocore.awsrequest.AWSRequest("GET", url)
    signer = At(botocore.credentials.Credentials(KEY, SECRET), "s3", "auto", expires=expires)
    signer.at = at
    signer.add_auth(request)
    return request.url


class At(botocore.auth.S3SigV4QueryAuth):
    """Signs as of another time."""

    def add_auth(self, request):
        request.context["timestamp"] = self.at.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def sent(method, path, body=b"", at=None, secret=SECRET, digest=None, more=()):
    """Sends a request that is signed by hand: as of another time, with another body than it says, and more."""
    at = at or datetime.datetime.now(datetime.timezone.utc)
    request = botocore.awsrequest.AWSRequest(method, f"{ENDPOINT}{path}", data=body, headers=dict(more))
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(KEY, secret), "s3", "auto")
    digest = digest or hashlib.sha256(body).hexdigest()
    request.headers["X-Amz-Date"] = at.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Content-SHA256"] = digest
    request.context["timestamp"] = request.headers["X-Amz-Date"]
    request.context["payload_signing_enabled"] = True
    signer.payload = lambda _: digest
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    status, answer = fetch(method, f"{ENDPOINT}{path}", body or None, **dict(request.headers.items()))
    return status, answer.decode(errors="replace")


def test_signatures_that_are_wrong_old_or_of_another_body_are_refused(s3, bucket):
    path = f"/{bucket}/k"
    assert sent("PUT", path, b"body")[0] == 200
    for minutes, is_taken in ((-14, True), (14, True), (-16, False), (16, False)):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        status, text = sent("GET", path, at=at)
        assert (status == 200, "RequestTimeTooSkewed" in text) == (is_taken, not is_taken), (minutes, text)
    status, text = sent("GET", path, secret="0" * 64)
    assert (status, "SignatureDoesNotMatch" in text) == (403, True)
    other = hashlib.sha256(b"other").hexdigest()
    status, text = sent("PUT", path, b"body", digest=other)
    assert (status, "XAmzContentSHA256Mismatch" in text) == (400, True), text
    assert read(s3, bucket, "k") == b"body"
    assert refused(connect(key="0" * 32).list_buckets) == (403, "InvalidAccessKeyId")
    assert refused(connect(key="no-key").list_buckets) == (403, "InvalidAccessKeyId")


def test_who_does_not_sign_or_signs_as_long_ago_is_refused(s3, bucket):
    url = f"{ENDPOINT}/{bucket}/k"
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert fetch(method, url, b"x" if method == "PUT" else None)[0] == 403, method
    status, text = fetch("GET", url, Authorization=f"AWS {KEY}:c2lnbmF0dXJl")
    assert (status, b"AWS4-HMAC-SHA256" in text) == (400, True)
    form = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x--\r\n'
    status, text = fetch("POST", f"{ENDPOINT}/{bucket}", form, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, b"NotImplemented" in text) == (501, True)


def test_a_form_is_refused_before_its_body_comes(bucket):
    host = urllib.parse.urlparse(ENDPOINT).netloc
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", f"/{bucket}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(4 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 501


def test_who_may_read_only_writes_nothing(s3, bucket):
    reader = connect(os.environ["PROXIMA_S3_READER_KEY"], os.environ["PROXIMA_S3_READER_SECRET"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert read(reader, bucket, "k") == b"x"
    assert reader.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert refused(reader.put_object, Bucket=bucket, Key="k", Body=b"y") == (403, "AccessDenied")
    assert refused(reader.delete_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
    assert refused(reader.create_multipart_upload, Bucket=bucket, Key="k") == (403, "AccessDenied")
    assert refused(reader.delete_bucket, Bucket=bucket) == (403, "AccessDenied")
    assert read(s3, bucket, "k") == b"x"


def test_what_is_not_offered_is_told_by_its_name(s3, bucket):
    assert refused(s3.get_object_lock_configuration, Bucket=bucket) == (501, "NotImplemented")
    locked = {"Bucket": bucket, "Key": "k", "Body": b"x", "ObjectLockMode": "GOVERNANCE"}
    locked["ObjectLockRetainUntilDate"] = datetime.datetime(2040, 1, 1, tzinfo=datetime.timezone.utc)
    assert refused(s3.put_object, **locked) == (501, "NotImplemented")
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", Tagging="a=b") == (501, "NotImplemented")


def run(tmp_path, *command):
    environment = {
        **os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "auto",
        "AWS_ENDPOINT_URL": ENDPOINT, "AWS_CONFIG_FILE": str(tmp_path / "none"), "HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_awscli_copies_files_and_folders(s3, bucket, tmp_path):
    aws = str(Path(sys.executable).with_name("aws"))
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(octets(9 * MIB))
    (folder / "sub" / "b c").write_bytes(b"small")
    run(tmp_path, aws, "s3", "sync", str(folder), f"s3://{bucket}/in")
    listed = run(tmp_path, aws, "s3", "ls", "--recursive", f"s3://{bucket}/")
    assert ("in/a" in listed, "in/sub/b c" in listed) == (True, True)
    run(tmp_path, aws, "s3", "sync", f"s3://{bucket}/in", str(tmp_path / "back"))
    assert (tmp_path / "back" / "a").read_bytes() == octets(9 * MIB)
    run(tmp_path, aws, "s3", "mv", f"s3://{bucket}/in/a", f"s3://{bucket}/moved")
    run(tmp_path, aws, "s3", "rm", "--recursive", f"s3://{bucket}/in")
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["moved"]


def test_s3cmd_copies_files(s3, bucket, tmp_path):
    s3cmd = str(Path(sys.executable).with_name("s3cmd"))
    host = urllib.parse.urlparse(ENDPOINT).netloc
    settings = (
        f"[default]\naccess_key = {KEY}\nsecret_key = {SECRET}\nhost_base = {host}\nhost_bucket = {host}\n"
        "use_https = False\nsignature_v2 = False\nbucket_location = auto\n"
    )
    (tmp_path / "s3cfg").write_text(settings)
    begin = (sys.executable, s3cmd, "-c", str(tmp_path / "s3cfg"))
    (tmp_path / "file").write_bytes(octets(16 * MIB))
    run(tmp_path, *begin, "put", "--multipart-chunk-size-mb=5", str(tmp_path / "file"), f"s3://{bucket}/dir/file")
    assert "dir/file" in run(tmp_path, *begin, "ls", "-r", f"s3://{bucket}")
    run(tmp_path, *begin, "get", f"s3://{bucket}/dir/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == octets(16 * MIB)
    run(tmp_path, *begin, "del", f"s3://{bucket}/dir/file")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
