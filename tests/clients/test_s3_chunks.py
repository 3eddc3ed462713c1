"""Uploads in chunks, signed each or with a checksum behind them, as no client here sends them; and a signed URL until it expires.
Needs what test_s3.py needs."""

import base64
import datetime
import hashlib
import hmac
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from test_s3 import ENDPOINT, KEY, SECRET, bucket, fetch, octets, read, refused, s3, sent, signed  # noqa: F401

# All but the last have 8 KiB at the least.
CHUNKS = [octets(65_536, b"1"), octets(65_536, b"2"), octets(1_000, b"3")]
WHOLE = b"".join(CHUNKS)


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Upload:
    """By AWS's algorithm: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, and sigv4-streaming-trailers.html."""

    def __init__(self, path, octets, trailer=None):
        self.trailer, self.frames, self.algorithm = trailer, b"", "AWS4-HMAC-SHA256"
        self.stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.stamp[:8]}/auto/s3/aws4_request"
        self.key = f"AWS4{SECRET}".encode()
        for part in self.scope.split("/"):
            self.key = hmac.digest(self.key, part.encode(), "sha256")
        self.signature = self.begin(path, octets)

    def begin(self, path, octets):
        """The signature of the head, which that of the first chunk goes on from."""
        body = f"STREAMING-{self.algorithm}-PAYLOAD{'-TRAILER' if self.trailer else ''}"
        fields = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(octets), "x-amz-content-sha256": body}
        if self.trailer:
            fields["x-amz-trailer"] = self.trailer[0]
        self.request = botocore.awsrequest.AWSRequest("PUT", f"{ENDPOINT}{path}", headers={**fields, "x-amz-date": self.stamp})
        self.request.context["timestamp"] = self.stamp
        signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(KEY, SECRET), "s3", "auto")
        signature = signer.signature(signer.string_to_sign(self.request, signer.canonical_request(self.request)), self.request)
        signer._inject_signature_to_request(self.request, signature)
        return signature

    def sign(self, what, *digests):
        text = "\n".join([f"{self.algorithm}-{what}", self.stamp, self.scope, self.signature, *digests])
        self.signature = hmac.digest(self.key, text.encode(), "sha256").hex()

    def chunk(self, data, said=None):
        self.sign("PAYLOAD", digest(b""), digest(data))
        self.frames += f"{len(data):x};chunk-signature={said or self.signature}\r\n".encode() + data
        # What is behind a body follows its last line.
        self.frames += b"" if self.trailer and not data else b"\r\n"

    def end(self, said=None):
        name, value = self.trailer
        self.sign("TRAILER", digest(f"{name}:{value}\n".encode()))
        self.frames += f"{name}:{value}\r\nx-amz-trailer-signature:{said or self.signature}\r\n\r\n".encode()

    def send(self):
        status, text = fetch("PUT", self.request.url, self.frames, **dict(self.request.headers.items()))
        return status, text.decode()


def test_what_comes_in_chunks_that_are_signed_is_kept(s3, bucket):
    upload = Upload(f"/{bucket}/k", len(WHOLE))
    for data in [*CHUNKS, b""]:
        upload.chunk(data)
    status, text = upload.send()
    assert status == 200, text
    assert read(s3, bucket, "k") == WHOLE
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("wrong", range(len(CHUNKS) + 1))
def test_one_chunk_with_another_signature_is_refused_and_nothing_is_kept(s3, bucket, wrong):
    upload = Upload(f"/{bucket}/k", len(WHOLE))
    for number, data in enumerate([*CHUNKS, b""]):
        upload.chunk(data, said="0" * 64 if number == wrong else None)
    status, text = upload.send()
    assert (status, "SignatureDoesNotMatch" in text) == (403, True), text
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


def test_chunks_in_another_order_or_fewer_than_were_said_are_refused(s3, bucket):
    first, second, last = CHUNKS
    for order, expected in (([second, first, last, b""], 403), ([first, second], 400)):
        signing = Upload(f"/{bucket}/k", len(WHOLE))
        frames = {}
        for data in [*CHUNKS, b""]:
            signing.frames = b""
            signing.chunk(data)
            frames[data] = signing.frames
        signing.frames = b"".join(frames[data] for data in order)
        status, text = signing.send()
        assert status == expected, text
        assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


def test_a_checksum_behind_signed_chunks_is_signed_too(s3, bucket):
    right = base64.b64encode(zlib.crc32(WHOLE).to_bytes(4, "big")).decode()

    def send(value, said=None):
        upload = Upload(f"/{bucket}/k", len(WHOLE), trailer=("x-amz-checksum-crc32", value))
        for data in [*CHUNKS, b""]:
            upload.chunk(data)
        upload.end(said)
        return upload.send()

    status, text = send(right, said="0" * 64)
    assert (status, "SignatureDoesNotMatch" in text) == (403, True), text
    status, text = send("AAAAAA==")
    assert (status, "BadDigest" in text) == (400, True), text
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    status, text = send(right)
    assert status == 200, text
    assert read(s3, bucket, "k") == WHOLE
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == right


def chunked(bucket, body, trailer_value):
    """An upload whose checksum comes behind it, frame by frame."""
    head = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(body)),
        "content-encoding": "aws-chunked",
    }
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\nx-amz-checksum-crc32:" + trailer_value + b"\r\n\r\n"
    return sent("PUT", f"/{bucket}/k", framed, digest=head.pop("x-amz-content-sha256"), more=head.items())


def test_a_checksum_behind_a_chunked_body_is_checked(s3, bucket):
    body = octets(10_000)
    right = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    status, text = chunked(bucket, body, right)
    assert status == 200, text
    assert read(s3, bucket, "k") == body
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")
    status, text = chunked(bucket, b"other", right)
    assert (status, "BadDigest" in text) == (400, True), text
    assert read(s3, bucket, "k") == body


def test_a_signed_url_is_good_again_and_again(s3, bucket):
    # That it expires, `test_presigned_urls_until_they_expire` shows.
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    url = signed(s3, bucket, "k", minutes=0, expires=600)
    for _ in range(3):
        assert fetch("GET", url) == (200, b"body")
