"""What fields of a request say of ranges, conditions and digests, as HTTP and S3 have it, also where boto3 has no words for it; and keys
that XML has no characters for. Needs what test_s3.py needs.
"""

import base64
import hashlib
import zlib

import pytest
from test_s3 import MIB, bucket, fetch, octets, read, refused, s3, sent  # noqa: F401

BODY = b"0123456789"


def got(s3, bucket, **fields):
    """The status and octets of an object that is got with these fields, which are signed; a URL that is signed is asked with them, too."""
    more = [(name.replace("_", "-"), value) for name, value in fields.items()]
    answered = sent("GET", f"/{bucket}/k", more=more)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    status, text = fetch("GET", url, **dict(more))
    assert (status, text.decode()) == answered, fields
    return status, text


def test_a_range_that_is_none_or_several_is_passed_over(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    for text, status, body in [
        ("bytes=5-2", 200, BODY), ("items=1-2", 200, BODY), ("bytes=0-0,2-3", 200, BODY), ("bytes=a-b", 200, BODY),
        ("bytes=0-99999999999999999999", 206, BODY), ("bytes=8-99999999999999999999", 206, b"89"), ("bytes=2-3", 206, b"23"),
    ]:
        assert got(s3, bucket, Range=text) == (status, body), text
    assert s3.head_object(Bucket=bucket, Key="k", Range="bytes=5-2")["ContentLength"] == len(BODY)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    for status, more in [(416, [("Range", "bytes=99999999999999999999-")]), (403, [("Range", "bytes=5-2")])]:
        secret = {"secret": "0" * 64} if status == 403 else {}
        assert sent("GET", f"/{bucket}/k", more=more, **secret)[0] == status
    assert sent("GET", f"/{bucket}/none", more=[("Range", "bytes=5-2")])[0] == 404
    assert sent("GET", f"/{bucket}?list-type=2", more=[("Range", "bytes=5-2")])[0] == 200


def test_a_range_is_wanted_of_one_object_alone(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=BODY)["ETag"]
    date = s3.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]["last-modified"]
    for wanted, status, body in [
        (tag, 206, b"23"), (date, 206, b"23"), ('"other"', 200, BODY), (f"W/{tag}", 200, BODY), ("Thu, 01 Jan 1970 00:00:10 GMT", 200, BODY),
    ]:
        assert got(s3, bucket, Range="bytes=2-3", If_Range=wanted) == (status, body), wanted
    assert got(s3, bucket, Range="bytes=10-", If_Range='"other"') == (200, BODY)
    assert sent("GET", f"/{bucket}/k", more=[("Range", "bytes=10-"), ("If-Range", tag)])[0] == 416
    head = sent("HEAD", f"/{bucket}/k", more=[("Range", "bytes=10-"), ("If-Range", '"other"')])
    assert head[0] == 200


def test_conditions_of_reads_are_lists_and_what_is_none_is_passed_over(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=BODY)["ETag"]
    for condition in [f'"a", {tag}', f"W/{tag}", f'"a", W/{tag}', "*"]:
        assert refused(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=condition)[0] == 304, condition
        assert refused(s3.head_object, Bucket=bucket, Key="k", IfNoneMatch=condition)[0] == 304, condition
    assert read(s3, bucket, "k", IfNoneMatch='"a", "b"') == BODY
    for condition in [f'"a", {tag}', tag.strip('"'), "*"]:
        assert read(s3, bucket, "k", IfMatch=condition) == BODY, condition
    for condition in [f"W/{tag}", '"a", "b"']:
        assert refused(s3.get_object, Bucket=bucket, Key="k", IfMatch=condition) == (412, "PreconditionFailed"), condition
    for name in ("If_Modified_Since", "If_Unmodified_Since"):
        assert got(s3, bucket, **{name: "garbage"}) == (200, BODY)


def test_a_part_that_is_not_there_is_none(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    parts = [octets(5 * MIB), octets(10)]
    tags = [s3.upload_part(PartNumber=at, Body=part, **which)["ETag"] for at, part in enumerate(parts, 1)]
    chosen = [{"PartNumber": at, "ETag": tag} for at, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(MultipartUpload={"Parts": chosen}, **which)
    assert read(s3, bucket, "k", PartNumber=2) == parts[1]
    assert refused(s3.get_object, Bucket=bucket, Key="k", PartNumber=3) == (416, "InvalidPartNumber")
    assert refused(s3.head_object, Bucket=bucket, Key="k", PartNumber=3)[0] == 416
    assert refused(s3.get_object, Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")[0] == 400


CORS = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
RULES = (
    b"<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status>"
    b"<Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
)


@pytest.mark.parametrize("method, query, body", [
    ("POST", "delete", b"<Delete><Object><Key>k</Key></Object></Delete>"), ("PUT", "cors", CORS), ("PUT", "lifecycle", RULES),
])
def test_a_body_of_xml_is_what_its_digest_says_or_nothing_is_done(s3, bucket, method, query, body):
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    digests = {
        "Content-MD5": hashlib.md5(body).digest(),
        "x-amz-checksum-crc32": zlib.crc32(body).to_bytes(4, "big"),
        "x-amz-checksum-sha256": hashlib.sha256(body).digest(),
    }
    path = f"/{bucket}?{query}="
    for name, value in digests.items():
        for hashed in (None, "UNSIGNED-PAYLOAD"):
            more = [(name, base64.b64encode(bytes(len(value))).decode())]
            status, text = sent(method, path, body, digest=hashed, more=more)
            assert (status, "BadDigest" in text) == (400, True), (name, text)
    status, text = sent(method, path, body, more=[("Content-MD5", "AAAA")])
    assert (status, "InvalidDigest" in text) == (400, True), text
    assert read(s3, bucket, "k") == BODY
    for call in (s3.get_bucket_cors, s3.get_bucket_lifecycle_configuration):
        assert refused(call, Bucket=bucket)[0] == 404
    for name, value in digests.items():
        status, text = sent(method, path, body, more=[(name, base64.b64encode(value).decode())])
        assert status in (200, 204), (name, text)


def behind(bucket, announced, trailer):
    """An upload that announces what comes behind it, and brings this."""
    head = [("x-amz-trailer", announced), ("x-amz-decoded-content-length", str(len(BODY))), ("content-encoding", "aws-chunked")]
    framed = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n" + trailer + b"\r\n"
    return sent("PUT", f"/{bucket}/k", framed, digest="STREAMING-UNSIGNED-PAYLOAD-TRAILER", more=head)


def test_what_is_announced_behind_a_body_is_known_and_comes(s3, bucket):
    crc = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big"))
    right = b"x-amz-checksum-crc32:" + crc + b"\r\n"
    for announced, trailer, code in [
        ("x-amz-checksum-crc32", b"", "MalformedTrailerError"),
        ("x-amz-checksum-crc32", right.replace(b"crc32", b"crc32c"), "MalformedTrailerError"),
        ("x-amz-checksum-sha256", right, "MalformedTrailerError"),
        ("x-amz-checksum-md5", right.replace(b"crc32", b"md5"), "InvalidRequest"),
    ]:
        status, text = behind(bucket, announced, trailer)
        assert (status, code in text) == (400, True), (announced, trailer, text)
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    status, text = behind(bucket, "x-amz-checksum-crc32", right)
    assert status == 200, text
    assert read(s3, bucket, "k") == BODY


def test_a_key_has_no_character_that_xml_cannot_write(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    source = {"Bucket": bucket, "Key": "k"}
    for key in ("x\x01", "\x1f", "a\x0bb", "\ufffe"):
        assert refused(s3.put_object, Bucket=bucket, Key=key, Body=BODY) == (400, "InvalidArgument"), ascii(key)
        assert refused(s3.copy_object, Bucket=bucket, Key=key, CopySource=source) == (400, "InvalidArgument"), ascii(key)
        assert refused(s3.create_multipart_upload, Bucket=bucket, Key=key) == (400, "InvalidArgument"), ascii(key)
    # What cannot be there is deleted, in an answer that can be read.
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k\x01"}]})
    _, text = sent("GET", f"/{bucket}?list-type=2&prefix=%01")
    assert "\x01" not in text, text
    # A carriage return would be taken for a line's end.
    for key in ("a\rb", "a\r\nb", "a\nb"):
        s3.put_object(Bucket=bucket, Key=key, Body=BODY)
    _, text = sent("GET", f"/{bucket}?list-type=2")
    assert "<Key>a&#13;b</Key>" in text and "<Key>a&#13;\nb</Key>" in text, text
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["a\nb", "a\r\nb", "a\rb", "k"]
