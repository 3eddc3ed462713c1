"""Fields in the query of a signed URL, where the JavaScript SDK writes them: `getSignedUrl` of its presigner moves every `x-amz-` field
there, signs `host` alone, and encodes names and values by RFC 3986. Needs what test_s3.py needs.
"""

import base64
import datetime
import hashlib
import hmac
import urllib.parse
import urllib.request
import zlib

import pytest
from test_s3 import ENDPOINT, KEY, SECRET, bucket, fetch, octets, read, refused, s3, sent  # noqa: F401

HOST = urllib.parse.urlparse(ENDPOINT).netloc


def url(method, path, query, secret=SECRET, **signed):
    """A URL as that presigner makes it, of pairs that may be there twice; `signed` are fields that it was told to leave fields."""
    at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = [at[:8], "auto", "s3", "aws4_request"]
    fields = {"host": HOST, **{name.replace("_", "-"): value for name, value in signed.items()}}
    names = ";".join(sorted(fields))
    pairs = [
        *query, ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
        ("X-Amz-Credential", "/".join([KEY, *scope])), ("X-Amz-Date", at), ("X-Amz-Expires", "60"), ("X-Amz-SignedHeaders", names),
    ]
    pairs = sorted(tuple(urllib.parse.quote(text, safe="-_.~") for text in pair) for pair in pairs)
    text = "&".join(f"{name}={value}" for name, value in pairs)
    each = [f"{name}:{fields[name]}" for name in sorted(fields)]
    canonical = "\n".join([method, path, text, *each, "", names, "UNSIGNED-PAYLOAD"])
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    told = "\n".join(["AWS4-HMAC-SHA256", at, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    return f"{ENDPOINT}{path}?{text}&X-Amz-Signature={hmac.digest(key, told.encode(), 'sha256').hex()}"


def ask(method, path, query, body=None, fields={}, **more):
    signed = {name.replace("-", "_"): value for name, value in fields.items()}
    return fetch(method, url(method, path, list(query), **signed, **more), body, **fields)


def test_what_is_said_of_an_object_in_a_url_is_kept_with_it(s3, bucket):
    put = [
        # As it is with the defaults of the SDK, which does not know the body.
        ("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "CRC32"), ("x-id", "PutObject"),
        ("x-amz-meta-foo", "bar"), ("X-Amz-Meta-Two", "a b+c/&d=e%20"), ("x-amz-meta-empty", ""),
        ("x-amz-storage-class", "STANDARD_IA"), ("x-amz-acl", "private"), ("x-amz-server-side-encryption", "AES256"),
    ]
    status, text = ask("PUT", f"/{bucket}/k", put, b"body")
    assert status == 200, text
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {"foo": "bar", "two": "a b+c/&d=e%20", "empty": ""}
    assert head["StorageClass"] == "STANDARD_IA"
    assert read(s3, bucket, "k") == b"body"


def test_a_url_copies_what_it_was_signed_to_copy(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a ä", Body=b"source", Metadata={"a": "b"})
    source = ("x-amz-copy-source", urllib.parse.quote(f"{bucket}/a ä"))
    assert ask("PUT", f"/{bucket}/to", [source, ("x-id", "CopyObject")], b"")[0] == 200
    assert (read(s3, bucket, "to"), s3.head_object(Bucket=bucket, Key="to")["Metadata"]) == (b"source", {"a": "b"})
    replaced = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-c", "d"), ("x-amz-storage-class", "STANDARD_IA")]
    assert ask("PUT", f"/{bucket}/to", replaced, b"")[0] == 200
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["Metadata"], head["StorageClass"]) == ({"c": "d"}, "STANDARD_IA")
    status, text = ask("PUT", f"/{bucket}/to", [source, ("x-amz-copy-source-if-match", '"other"')], b"")
    assert (status, b"PreconditionFailed" in text) == (412, True), text
    # A URL for another key, or for none, is not made to copy.
    assert fetch("PUT", f"{url('PUT', f'/{bucket}/new', [])}&{urllib.parse.urlencode([source])}", b"")[0] == 403
    assert ask("PUT", f"/{bucket}/new", [source], b"", secret="0" * 64)[0] == 403
    assert refused(s3.head_object, Bucket=bucket, Key="new")[0] == 404


def test_an_upload_in_parts_by_urls(s3, bucket):
    path = f"/{bucket}/k"
    status, text = ask("POST", path, [("uploads", ""), ("x-amz-meta-a", "b"), ("x-amz-checksum-algorithm", "SHA256")], b"")
    assert (status, b"<UploadId>" in text) == (200, True), text
    upload = ("uploadId", text.decode().split("<UploadId>")[1].split("<")[0])
    digest = base64.b64encode(hashlib.sha256(b"part").digest()).decode()
    part = [upload, ("partNumber", "1"), ("x-amz-checksum-sha256", digest)]
    assert ask("PUT", path, part, b"tart")[0] == 400
    assert ask("PUT", path, part, b"part")[0] == 200
    s3.put_object(Bucket=bucket, Key="from", Body=octets(100))
    copied = [upload, ("partNumber", "1"), ("x-amz-copy-source", f"/{bucket}/from"), ("x-amz-copy-source-range", "bytes=1-9")]
    status, text = ask("PUT", path, copied, b"")
    assert (status, b"CopyPartResult" in text) == (200, True), text
    assert ask("PUT", path, [upload, ("partNumber", "1"), ("x-amz-meta-a", "b")], b"")[0] == 501, "a part has none"
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload[1])
    assert (listed["ChecksumAlgorithm"], [part["Size"] for part in listed["Parts"]]) == ("SHA256", [9])
    part = {"PartNumber": 1, "ETag": listed["Parts"][0]["ETag"], "ChecksumSHA256": listed["Parts"][0]["ChecksumSHA256"]}
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload[1], MultipartUpload={"Parts": [part]})
    assert (read(s3, bucket, "k"), s3.head_object(Bucket=bucket, Key="k")["Metadata"]) == (octets(100)[1:10], {"a": "b"})


def test_reads_and_deletes_heed_a_url_as_well(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="CRC32")
    with_mode = url("GET", f"/{bucket}/k", [("x-amz-checksum-mode", "ENABLED")])
    with urllib.request.urlopen(with_mode, timeout=30) as answer:
        assert answer.headers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()
    # Such a range goes through the front twice.
    with urllib.request.urlopen(urllib.request.Request(with_mode, headers={"Range": "bytes=5-2"}), timeout=30) as answer:
        assert (answer.read(), "x-amz-checksum-crc32" in answer.headers) == (b"x", True)
    status, text = ask("GET", f"/{bucket}/k", [("attributes", ""), ("x-amz-object-attributes", "ObjectSize,ETag")])
    assert (status, b"<ObjectSize>1<" in text, b"StorageClass" in text) == (200, True, False), text
    assert ask("DELETE", f"/{bucket}/k", [("x-amz-if-match-size", "2")])[0] == 501
    assert read(s3, bucket, "k") == b"x"


def test_the_digest_of_a_body_that_was_known_is_compared(s3, bucket):
    digest = base64.b64encode(zlib.crc32(b"body").to_bytes(4, "big")).decode()
    status, text = ask("PUT", f"/{bucket}/k", [("x-amz-checksum-crc32", digest)], b"other")
    assert (status, b"BadDigest" in text) == (400, True), text
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404
    assert ask("PUT", f"/{bucket}/k", [("x-amz-checksum-crc32", digest)], b"body")[0] == 200
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == digest


@pytest.mark.parametrize("query, status, code", [
    # As it would be as a field.
    ([("x-amz-tagging", "a=b")], 501, "NotImplemented"), ([("x-amz-acl", "public-read")], 501, "NotImplemented"),
    ([("x-amz-server-side-encryption", "aws:kms")], 501, "NotImplemented"),
    ([("x-amz-server-side-encryption-aws-kms-key-id", "k")], 501, "NotImplemented"),
    ([("x-amz-object-lock-mode", "GOVERNANCE")], 501, "NotImplemented"), ([("x-amz-trailer", "x-amz-checksum-crc32")], 501, "NotImplemented"),
    ([("x-amz-write-offset-bytes", "1")], 501, "NotImplemented"), ([("x-amz-unheard-of", "1")], 501, "NotImplemented"),
    ([("x-amz-storage-class", "GLACIER")], 400, "InvalidStorageClass"), ([("x-amz-copy-source", "")], 400, ""),
    ([("x-amz-copy-source", "nonsense")], 400, ""), ([("x-amz-meta-a", "x" * 9_000)], 400, "MetadataTooLarge"),
    ([(f"x-amz-meta-{at}", "x" * 20) for at in range(800)], 400, "MetadataTooLarge"),
    # What no field could say.
    ([("x-amz-meta-a", "b\r\nx-amz-meta-c: d")], 400, "InvalidArgument"), ([("x-amz-meta-a", "b\n")], 400, "InvalidArgument"),
    ([("x-amz-meta-a", "\0")], 400, "InvalidArgument"), ([("x-amz-meta-a\r\nb", "c")], 400, "InvalidArgument"),
    ([("x-amz-meta-a b", "c")], 400, "InvalidArgument"), ([("x-amz-meta-ä", "c")], 400, "InvalidArgument"),
    ([("x-amz-meta-a", "b"), ("x-amz-meta-a", "b")], 400, "InvalidArgument"),
    ([("X-Amz-Meta-A", "b"), ("x-amz-meta-a", "c")], 400, "InvalidArgument"),
    ([("x-amz-acl", "private"), ("X-Amz-Acl", "public-read")], 501, "NotImplemented"),
], ids=range(22))
def test_what_cannot_be_in_a_url_is_refused(s3, bucket, query, status, code):
    told, text = ask("PUT", f"/{bucket}/k", query, b"x")
    assert (told, code.encode() in text) == (status, True), text
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404


def test_what_is_signed_twice_says_the_same_twice(s3, bucket):
    path, meta = f"/{bucket}/k", [("x-amz-meta-a", "b")]
    status, text = ask("PUT", path, meta, b"x", {"x-amz-meta-a": "c"})
    assert (status, b"InvalidArgument" in text) == (400, True), text
    assert fetch("PUT", url("PUT", path, meta, x_amz_meta_a="b"), b"x")[0] == 400, "it is signed as a field"
    assert fetch("PUT", url("PUT", path, meta), b"x", **{"x-amz-meta-a": "b"})[0] == 403, "it is not"
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404
    assert ask("PUT", path, meta, b"x", {"x-amz-meta-a": "b"})[0] == 200
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "b"}


def test_a_query_says_nothing_where_it_is_not_what_is_signed(s3, bucket):
    for name in ("x-amz-meta-a", "x-amz-storage-class", "x-amz-copy-source"):
        status, text = sent("PUT", f"/{bucket}/k?{name}=STANDARD", b"x")
        assert (status, name in text) == (501, True), text
        assert fetch("PUT", f"{ENDPOINT}/{bucket}/k?{name}=STANDARD", b"x")[0] == 403
    added = url("PUT", f"/{bucket}/k", [("x-amz-meta-a", "b")])
    assert fetch("PUT", added.replace("x-amz-meta-a=b", "x-amz-meta-a=c"), b"x")[0] == 403
    assert fetch("PUT", f"{added}&x-amz-meta-c=d", b"x")[0] == 403
    assert refused(s3.head_object, Bucket=bucket, Key="k")[0] == 404
